"""An in-process counter under a server with several workers: refused out loud, for each would count from 1."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

APP = """
from quart import Quart
from quart_counter import QuartCounter

app = Quart(__name__)
counters = QuartCounter(app{settings})

@app.post("/")
async def home():
    return {{"you are number": await counters.increment("visits")}}
"""


def started(folder: Path, workers: int, settings: str = "") -> subprocess.Popen[str]:
    (folder / "app.py").write_text(APP.format(settings=settings))
    return subprocess.Popen(
        [sys.executable, "-m", "hypercorn", "-w", str(workers), "-b", "127.0.0.1:0", "app:app"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def said_until(server: subprocess.Popen[str], words: str, times: int) -> bool:
    assert server.stdout is not None
    return any((times := times - (words in line)) == 0 for line in server.stdout)


@pytest.fixture
def servers():
    running = []
    yield running
    for server in running:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        server.stdout.close()


def test_two_workers_that_count_apart_are_refused(servers, tmp_path):
    """hypercorn -w 2 on the README's example says what to do, in one line; its own traceback comes after that."""
    servers.append(started(tmp_path, workers=2))
    assert said_until(servers[-1], "cannot start: another worker of this server counts in its own memory", times=1)
    assert said_until(servers[-1], "LifespanFailureError: Lifespan failure in startup. 'another worker", times=1)


def test_one_worker_is_welcome(servers, tmp_path):
    """hypercorn runs one worker as a child too."""
    servers.append(started(tmp_path, workers=1))
    assert said_until(servers[-1], "Running on", times=1)


def test_force_starts_them_all_the_same(servers, tmp_path):
    """Who insists, gets it: the lab does."""
    servers.append(started(tmp_path, workers=2, settings=", force=True"))
    assert said_until(servers[-1], "Running on", times=2)
