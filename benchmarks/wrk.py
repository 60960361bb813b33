"""One round of wrk against one address, and what it says of itself."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SCRIPT: Final = Path(__file__).with_name("hits.lua")
CLIENTS: Final = 64


@dataclass(frozen=True)
class Hit:
    """What each request is: `path` may hold a %d that goes round 1 to `names`; `keys` is sent, unsent or none."""

    method: str
    path: str
    names: int = 1
    keys: str = "none"
    clients: int = CLIENTS


@dataclass(frozen=True)
class Round:
    """What wrk saw. `client_busy` is the share of one core that wrk itself used."""

    requests: int
    seconds: float
    socket_errors: int
    refused: int
    p50_ms: float
    p99_ms: float
    client_busy: float

    @property
    def per_s(self) -> float:
        return self.requests / self.seconds


def fire(url: str, hit: Hit, seconds: int) -> Round:
    """Ask as fast as the answers come, on `hit.clients` connections, one request of each in flight."""
    tag = f"{time.time_ns():x}"  # no key was ever used before
    words = [hit.method, hit.path, str(hit.names), hit.keys, tag]
    options = ["-t1", f"-c{hit.clients}", f"-d{seconds}s", "--latency", "--timeout", "10s", "-s", str(SCRIPT)]
    began = time.perf_counter()
    said, cpu_s = _run(["wrk", *options, url, "--", *words])
    return _round(said, cpu_s / (time.perf_counter() - began))


def _run(command: list[str]) -> tuple[str, float]:
    """Return what it said, and the seconds of processor time that it took."""
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        words = said.read()
    if process.returncode:
        raise SystemExit(f"wrk ended with status {process.returncode}: {words.strip()}")
    return words, used.ru_utime + used.ru_stime


def _round(said: str, client_busy: float) -> Round:
    found = re.search(r"^DONE (\{.*\})$", said, re.MULTILINE)
    if found is None:
        raise SystemExit(f"wrk did not come to its end: {said.strip()}")
    told = json.loads(found[1])
    return Round(
        requests=told["requests"],
        seconds=told["us"] / 1e6,
        socket_errors=told["socket_errors"],
        refused=told["refused"],
        p50_ms=told["p50_us"] / 1e3,
        p99_ms=told["p99_us"] / 1e3,
        client_busy=client_busy,
    )
