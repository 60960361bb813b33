"""What a server's processes use, read from /proc: processor time, memory, and which event loop they run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def family(pid: int) -> Iterator[int]:
    """The process and all that descend from it."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in _read(task).split():
            yield from family(int(child))


def cpu_s(pid: int) -> float:
    """Seconds of processor time that the process and its descendants have taken."""
    return sum(_ticks(one) for one in family(pid)) * TICK_S


def resident_bytes(pid: int) -> int:
    """Memory that the process holds now, without its descendants."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def loop_of(pid: int) -> str:
    """uvloop if any of its processes has loaded it, else Python's own."""
    maps = "".join(_read(Path(f"/proc/{one}/maps")) for one in family(pid))
    if "/uvloop/loop" in maps:
        return "uvloop"
    return "asyncio"


def _ticks(pid: int) -> int:
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12]) if fields else 0


def _read(path: Path) -> str:
    """It may be gone by now."""
    try:
        return path.read_text()
    except OSError:
        return ""
