"""Who spends the time inside the process: cProfile while wrk fires, added up by package.

A profile makes Python functions dearer than what is written in C: the shares say where to look, and are no speed.
"""

from __future__ import annotations

import pstats
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from benchmarks import wrk
from benchmarks.measures import BY_NAME
from benchmarks.report import Table
from benchmarks.servers import Server, Stores, start

SERVERS: Final = ("bare", "lock", "redis")
HERE: Final = Path(__file__).with_name("profiled")
PACKAGES: Final = re.compile(
    r"site-packages/([^/.]+)|(quart_counter|benchmarks)/([^/.]+)|lib/python3[^/]*/(?!site-packages)([^/.]+)"
)
LOOP: Final = re.compile(r"run_until_complete|run_forever|'run' of")
LEAST: Final = 0.01  # shares below are told together


def measure(*, seconds: int, say: Callable[[str], None]) -> Table:
    """Return each package's share of the profiled time, for a bare app and for ours."""
    spent = {}
    for name in SERVERS:
        say(f"profile: {name} under cProfile")
        spent[name] = _spent(BY_NAME[name], seconds)
    whole = {name: sum(by_package.values()) or 1.0 for name, by_package in spent.items()}
    largest = {one: max(spent[name][one] / whole[name] for name in SERVERS) for name in SERVERS for one in spent[name]}
    shown = sorted((one for one in largest if largest[one] >= LEAST), key=lambda one: -largest[one])
    rows = [[one, *(f"{spent[name][one] / whole[name]:.0%}" for name in SERVERS)] for one in shown]
    return Table("Who spends it, by package, under cProfile", ["package", *SERVERS], rows)


def _spent(server: Server, seconds: int) -> Counter[str]:
    with TemporaryDirectory(prefix="quart-counter-benchmarks-") as folder, Stores() as stores:
        with start(_profiled(server, Path(folder, "profile")), stores) as running:
            wrk.fire(running.url, wrk.Hit(*server.hit), seconds)
        busiest = max(map(_load, Path(folder).iterdir()), key=lambda one: one.total_calls)  # not who waits for it
    return by_package(busiest)


def _load(file: Path) -> Any:  # typeshed keeps what pstats.Stats has to itself
    return pstats.Stats(str(file))


def _profiled(server: Server, path: Path) -> Server:
    # Hypercorn's own worker processes leave without a word; with none of them it serves by itself
    more = ("--workers", "0") if server.name == "bare" else ()

    def command(port: int, stores: Stores) -> list[str]:
        settings = [f"PYTHONPATH={HERE}:{HERE.parent.parent}", f"BENCHMARKS_PROFILE={path}"]
        return [*settings, *server.command(port, stores), *more]

    return replace(server, command=command)


def by_package(profile: Any) -> Counter[str]:
    """Add up the time spent in each package's own functions; the loop's own includes the system calls."""
    spent: Counter[str] = Counter()
    for (path, _, function), (_, _, own_s, *_) in profile.stats.items():
        spent[_package(path, function)] += own_s
    return spent


def _package(path: str, function: str) -> str:
    if path == "~":
        return "the event loop and the kernel" if LOOP.search(function) else "built-in functions"
    found = PACKAGES.search(path)
    if found is None:
        return "other"
    site, ours, room, standard = found.groups()
    return site or (f"{ours}.{room}" if ours else f"Python's {standard}")
