"""Plays docs/tutorial.md as its reader would, in a fresh folder.

`python tests/e2e/tutorial.py` writes the page's outputs anew.

Each block of the page carries a comment that says what it is:

    file NAME               becomes a file
    run / run, exit 1       a command, and how it ends
    serve                   a command that stays, until the next one takes its place
    refused                 a server that must end by itself
    output                  all that the command above printed
    output, among others    a line of it
    not run: REASON
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from quart_counter.local.process import free_port

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"
PORT = ":8000"  # the reader's; ours is a free one
STEP = re.compile(r"^<!-- (?P<does>[^\n]*) -->\n```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S)
READY = "] [INFO] Running on http"
PATIENCE_S = 30.0

TIMES = [
    (r"^p50 ms [\d.]+  p99 ms [\d.]+$", "p50 ms T  p99 ms T"),
    (r"max in flight \d+$", "max in flight N"),  # too few of them make it INCONCLUSIVE
    (r"up to \d+ in flight$", "up to N in flight"),
    (r"^\[20\d\d-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\] \[\d+\]", "[DATE] [PID]"),
    (r"(?<=passed in )[\d.]+s$", "T"),
]
LANE = r"client \d+ [ |-]* add 1 -> "
# Only where a race was found: how many collided, and who with whom, is decided by the moment.
COLLISIONS = [
    (r"requests \d+01  ok \d+01 ", "requests N  ok N "),  # it stops at the first volley that shows it
    (r"distinct \d+ ", "distinct N "),
    (r"^duplicate [1-9]\d*  skipped 0  lost [1-9]\d* ", "duplicate N  skipped 0  lost N "),
    (r"out of order \d+  stale \d+$", "out of order N  stale N"),
    (r"\d+ answers repeat a number", "N answers repeat a number"),
    (r"\d+ of \d+ increments", "N of N increments"),
    (r"2 series side by side, \d+ to \d+ and \d+ to \d+:", "2 series side by side, N to N and N to N:"),
    (rf"^{LANE}(?P<number>\d+)[ |-]*\n{LANE}(?P=number)[ |-]*\n +0 [ \d.]+ m?s[ \d.ms]*$", "two callers, one number"),
]


@dataclass(frozen=True)
class Step:
    """A block of the page."""

    line: int
    does: str
    text: str

    @property
    def exit_status(self) -> int:
        return int(self.does.partition("exit ")[2] or 0)


@dataclass
class Reader:
    """Somebody at a keyboard: a folder, a port, and what the last command said."""

    folder: Path
    port: str = field(default_factory=lambda: f":{free_port()}")
    said: str = ""
    server: subprocess.Popen[str] | None = None

    def follow(self, step: Step) -> None:
        """Do what the step says. Raises AssertionError where a command does not end as the page has it."""
        match step.does.split(" ", 1)[0].rstrip(",:"):
            case "file":
                (self.folder / step.does.removeprefix("file ")).write_text(step.text)
            case "run":
                self.run(step)
            case "serve":
                self.serve(step)
            case "refused":
                self.refused(step)
            case "output" | "not":
                pass
            case unknown:
                raise ValueError(f"line {step.line}: nothing is known of {unknown!r}")

    def run(self, step: Step) -> None:
        ended = subprocess.run(**self.command(step), capture_output=True, timeout=PATIENCE_S)
        self.said = ended.stdout
        assert ended.returncode == step.exit_status, f"line {step.line}: {step.text}{ended.stdout}{ended.stderr}"

    def refused(self, step: Step) -> None:
        """Start it, and wait until it has ended by itself. (Its status is Hypercorn's, and now this, now that.)"""
        self.start(step)
        self.said, _ = self.server.communicate(timeout=PATIENCE_S)

    def serve(self, step: Step) -> None:
        """Start it, and wait until every worker of it says that it runs."""
        self.start(step)
        words, self.said = shlex.split(step.text), ""
        workers = int(words[words.index("--workers") + 1]) if "--workers" in words else 1
        while self.said.count(READY) < workers:
            line = self.server.stdout.readline()
            assert line, f"line {step.line}: {step.text}{self.said}"
            self.said += line

    def start(self, step: Step) -> None:
        """Start a server in place of the one before."""
        self.stop()
        self.server = subprocess.Popen(
            **self.command(step), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, process_group=0
        )

    def stop(self) -> None:
        """Ctrl-C."""
        server, self.server = self.server, None
        if server is None:
            return
        with server, suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGINT)
            try:
                server.wait(PATIENCE_S)
            finally:
                os.killpg(server.pid, signal.SIGKILL)

    def command(self, step: Step) -> dict:
        return {
            "args": ["/bin/sh", "-c", step.text.replace(PORT, self.port)],
            "cwd": self.folder,
            "env": environment(),
            "text": True,
        }

    def heard(self, step: Step) -> str:
        """What there is to compare with an output of the page."""
        said = self.said.replace(self.port, PORT)
        if step.does == "output, among others" and step.text in said:
            return step.text
        return ended(said)


def ended(text: str) -> str:
    return text if text.endswith("\n") else f"{text}\n"  # an answer from curl has no line's end


def environment() -> dict[str, str]:
    """A reader's: the programs of our environment on PATH, and nothing that tells a test from a reader."""
    ours = ("QUART_COUNTER_", "PYTEST", "PYTHON", "COV_")
    mine = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**mine, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{mine['PATH']}", "PYTHONUNBUFFERED": "1"}


def steps(page: str) -> list[Step]:
    return [Step(page.count("\n", 0, found.start()) + 2, found["does"], found["text"]) for found in STEP.finditer(page)]


@contextmanager
def a_reader(folder: Path) -> Iterator[Reader]:
    reader = Reader(folder)
    try:
        yield reader
    finally:
        reader.stop()


def played(page: str, folder: Path) -> Iterator[tuple[Step, str]]:
    """Follow the page; yield every output of it with what was really said."""
    with a_reader(folder) as reader:
        for step in steps(page):
            reader.follow(step)
            if step.does.startswith("output"):
                yield step, reader.heard(step)


def settled(said: str) -> str:
    """The same without what the moment decides."""
    for pattern, name in TIMES + (COLLISIONS if "\nRACY: " in said else []):
        said = re.sub(pattern, name, said, flags=re.M)
    return said


def rewritten(page: str, folder: Path) -> str:
    """The page with its outputs as they are today."""
    lines, new = page.splitlines(keepends=True), []
    before = 0
    for step, said in played(page, folder):
        if step.does == "output":
            new += [*lines[before : step.line], said]
            before = step.line + step.text.count("\n")
    return "".join([*new, *lines[before:]])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as fresh:
        PAGE.write_text(rewritten(PAGE.read_text(), Path(fresh)))
