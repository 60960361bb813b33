"""How long until something happens: the help, a service that answers; and what an import brings along."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks.measures import BY_NAME
from benchmarks.report import Row
from benchmarks.servers import ROOT, Stores, start

HELP_S: Final = 0.25
READY_S: Final = 1.0
UNWANTED: Final = ("redis", "quart_counter.lab")
WHAT_IS_THERE: Final = "import quart_counter, sys, json; print(json.dumps(list(sys.modules)))"


def measure(*, rounds: int, judged: bool, say: Callable[[str], None]) -> list[Row]:
    """Return what each start took, the median of `rounds` after one that compiles."""
    say("starting up")
    with TemporaryDirectory(prefix="quart-counter-benchmarks-") as folder, _compiling_into(folder):
        shown = _median_s(rounds, _help)
        ready = _median_s(rounds, _serve)
        there = _modules()
    unwanted = [name for name in there if any(f"{name}.".startswith(f"{one}.") for one in UNWANTED)]
    return [
        Row(
            "start",
            "`quart-counter --help`, seconds",
            f"{shown:.2f}",
            f"< {HELP_S}",
            shown < HELP_S if judged else None,
        ),
        Row(
            "start",
            "`quart-counter serve`, seconds until it answers",
            f"{ready:.2f}",
            f"< {READY_S:g}",
            ready < READY_S if judged else None,
        ),
        Row(
            "start",
            "modules of redis or the lab that `import quart_counter` brings",
            str(len(unwanted)),
            "0",
            not unwanted,
        ),
    ]


def _median_s(rounds: int, seconds: Callable[[], float]) -> float:
    seconds()  # compiles what it imports
    return median(seconds() for _ in range(rounds))


def _help() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "quart_counter", "--help"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def _serve() -> float:
    with Stores() as stores:
        server, began = start(BY_NAME["lock"], stores), time.perf_counter()
        with server:
            return time.perf_counter() - began


def _modules() -> Sequence[str]:
    done = subprocess.run([sys.executable, "-c", WHAT_IS_THERE], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    modules: list[str] = json.loads(done.stdout)
    return modules


@contextmanager
def _compiling_into(folder: str) -> Iterator[None]:
    """Keep compiled modules in `folder`, whatever the environment says: an installed package has them."""
    before = dict(os.environ)
    os.environ["PYTHONPYCACHEPREFIX"] = folder
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
