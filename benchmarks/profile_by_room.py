"""Who spends it inside the process: what was seen from outside, shared out as cProfile counts it under wrk.

A profile makes Python functions dearer than what is written in C: the shares say where to look, and are no speed.
"""

from __future__ import annotations

import os
import pstats
import re
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from benchmarks import processes, wrk
from benchmarks.measures import BY_NAME
from benchmarks.report import Table
from benchmarks.rounds import Record
from benchmarks.servers import Server, Stores, start

SERVERS: Final = ("bare", "lock", "redis")
HERE: Final = Path(__file__).with_name("profiled")
PACKAGES: Final = re.compile(
    r"site-packages/([^/.]+)|(quart_counter|benchmarks)/([^/.]+)|lib/python3[^/]*/(?!site-packages)([^/.]+)"
)
LEAST: Final = 0.01  # shares below are told together


def measure(seen: Mapping[str, Record], *, seconds: int, say: Callable[[str], None]) -> Table:
    """Share out what a request was `seen` to cost among the packages, for a bare app and for ours."""
    spent = {}
    for name in SERVERS:
        say(f"profile: {name} under cProfile")
        spent[name] = shares(_profile(BY_NAME[name], seconds))
    packages = {package for by_package in spent.values() for package in by_package}
    largest = {package: max(by_package[package] for by_package in spent.values()) for package in packages}
    shown = sorted((one for one in packages if largest[one] >= LEAST), key=lambda one: -largest[one])
    rows = [[one, *(f"{spent[name][one] * seen[name].cpu_us_each:.1f}" for name in SERVERS)] for one in shown]
    return Table("Who spends it, by package, us of a request", ["package", *SERVERS], rows)


def _profile(server: Server, seconds: int) -> Any:  # typeshed keeps what pstats.Stats has to itself
    with TemporaryDirectory(prefix="quart-counter-benchmarks-") as folder, Stores() as stores:
        with start(_profiled(server, Path(folder, "profile")), stores) as running:
            hit = wrk.Hit(*server.hit)
            wrk.fire(running.url, hit, 1)
            for pid in processes.family(running.pid):
                os.kill(pid, signal.SIGUSR2)
            wrk.fire(running.url, hit, seconds)
        profiles = [_load(file) for file in Path(folder).iterdir()]
    return max(profiles, key=lambda one: one.total_calls)  # those that only waited for it have few


def _load(file: Path) -> Any:
    return pstats.Stats(str(file))


def _profiled(server: Server, path: Path) -> Server:
    # Hypercorn's own worker processes leave without a word; with none of them it serves by itself
    more = ("--workers", "0") if server.name == "bare" else ()

    def command(port: int, stores: Stores) -> list[str]:
        settings = [f"PYTHONPATH={HERE}:{HERE.parent.parent}", f"BENCHMARKS_PROFILE={path}"]
        return [*settings, *server.command(port, stores), *more]

    return replace(server, command=command)


def shares(profile: Any) -> Counter[str]:
    """Return the share of each package's own functions in the profiled time."""
    spent: Counter[str] = Counter()
    for (path, _, function), (_, _, own_s, *_) in profile.stats.items():
        spent[package(path, function)] += own_s
    whole = sum(spent.values())
    return Counter({name: own_s / whole for name, own_s in spent.items()})


def package(path: str, function: str) -> str:
    """Return whose function it is. A stream's write has next to nothing of its own: the transport's sends in it."""
    if path == "~":
        return "built-in functions"
    if path.endswith("asyncio/streams.py") and function == "write":
        return "writing to sockets (uvloop, the kernel)"
    found = PACKAGES.search(path)
    if found is None:
        return "other"
    site, ours, room, standard = found.groups()
    return site or (f"{ours}.{room}" if ours else f"Python's {standard}")
