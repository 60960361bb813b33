"""The examples as their readers start them: each on a port and in a folder of its own, stopped with all its children.

python tests/lab/zoo.py [--runs 10] [NAME]...     race them, print what became of each run
"""

import argparse
import json
import re
import shlex
import subprocess
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from quart_counter.lab.diagnosis import CAUSES, KINDS, REMEDIES
from quart_counter.lab.diagnosis.words import PHRASES
from quart_counter.local.postgres import private_postgres
from quart_counter.local.process import LocalServer, Probe, free_port
from quart_counter.local.redis import private_redis

EXAMPLES = Path(__file__).parents[2] / "examples"
BIN = Path(sys.executable).parent
KNOCK = b"GET /is-it-up HTTP/1.0\r\n\r\n"  # counted by none of them
LONGEST_S = 60.0
PORT = 8080  # as shown


@dataclass(frozen=True)
class App:
    """One entry of zoo.toml."""

    name: str
    start: str
    path: str
    verdict: str
    method: str = "POST"
    race: str = ""
    looks_like: str | None = None
    in_a_row: int = 1

    @property
    def expected(self) -> tuple[str, str | None]:
        return self.verdict, self.looks_like

    @property
    def file(self) -> str:
        """The example that it starts."""
        (found,) = [file.name for file in EXAMPLES.glob("*.*") if re.search(rf"\b{file.stem}\b", self.start)]
        return found

    def needs(self, store: str) -> bool:
        """Whether it counts in a store of this name."""
        return f"{{{store}}}" in self.start

    def served(self, port: int, store: str) -> LocalServer:
        """The app, from `with` to the end of the block; `store` is the URL of what it counts in, if it does."""
        start = self.start.format(port=port, postgres=store, redis=store)
        line = (
            f"cp -r {shlex.quote(str(EXAMPLES))}/*.* . && export PATH={shlex.quote(str(BIN))}:$PATH && exec env {start}"
        )
        return LocalServer(
            self.name,
            ["/bin/sh", "-c", line],
            url=f"http://127.0.0.1:{port}{self.path}",
            probe=Probe(port, KNOCK, b"HTTP/1"),
        )


def the_zoo() -> list[App]:
    document: Mapping[str, dict[str, Any]] = tomllib.loads((EXAMPLES / "zoo.toml").read_text())
    return [App(name=name, **entry) for name, entry in document.items()]


@dataclass(frozen=True)
class Raced:
    """What `quart-counter race URL --json` said, and how long that took."""

    status: int
    row: Mapping[str, Any]
    seconds: float
    errors: str

    @property
    def outcome(self) -> tuple[str, str | None]:
        diagnosis = self.row.get("diagnosis")
        return self.row["verdict"], diagnosis and diagnosis["kind"]


def race(app: App, port: int) -> Raced:
    """Race it as a user would."""
    began = time.monotonic()
    done = command(
        f"http://127.0.0.1:{port}{app.path}", "--method", app.method, *app.race.format(port=port).split(), "--json"
    )
    rows = json.loads(done.stdout)["rows"] if done.stdout else [{"verdict": "nothing"}]
    return Raced(done.returncode, rows[0], time.monotonic() - began, done.stderr)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`quart-counter race` to its end."""
    line = [sys.executable, "-W", "error", "-m", "quart_counter", "race", *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=LONGEST_S, check=False)


@contextmanager
def stores_for(apps: list[App]) -> Iterator[Mapping[str, str]]:
    """The URL of each store that some of them need, while the block lasts."""
    private = {"postgres": private_postgres, "redis": private_redis}
    with ExitStack() as stack:
        needed = [name for name in private if any(app.needs(name) for app in apps)]
        yield {name: stack.enter_context(private[name]()).url for name in needed}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1, help="of each app  [default: 1]")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--markdown", action="store_true", help="print the tables of the page, race nothing")
    given = parser.parse_args()
    if given.markdown:
        click.echo(f"{kinds()}\n\n{table()}")
        return 0
    apps = [app for app in the_zoo() if not given.names or app.name in given.names]
    wrong = 0
    with stores_for(apps) as urls:
        for app in apps:
            url = next((urls[name] for name in urls if app.needs(name)), "")
            wrong += tell(app, [raced for _ in range(given.runs) for raced in run(app, url)])
    return 1 if wrong else 0


def words(kind: str | None) -> str:
    """The kind as people say it."""
    return (kind or "-").replace("someone_elses", "someone else's").replace("_", " ")


def table() -> str:
    """The zoo for its page: how each is started and raced, and what must be said of it."""
    lines = ["| start | `quart-counter race` | verdict | kind |", "|---|---|---|---|"]
    for app in the_zoo():
        start = app.start.format(port=PORT, postgres="...", redis="...")
        method = "" if app.method == "POST" else f" --method {app.method}"
        asked = " ".join(f"{app.path}{method} {app.race.format(port=PORT)}".split())
        often = f", {app.in_a_row} times in a row" if app.in_a_row > 1 else ""
        lines.append(f"| `{start}` | `{asked}`{often} | {app.verdict} | {words(app.looks_like)} |")
    return "\n".join(lines)


def kinds() -> str:
    """What there is to read in a diagnosis, and which examples show it."""
    lines = ["| kind | looks like | likely cause | remedy | see |", "|---|---|---|---|---|"]
    for kind in KINDS:
        files = dict.fromkeys(app.file for app in the_zoo() if app.looks_like == kind)
        see = ", ".join(f"[{file}](../examples/{file})" for file in files) or "-"
        lines.append(f"| **{words(kind)}** | {PHRASES[kind] or '-'} | {CAUSES[kind]} | {REMEDIES[kind]} | {see} |")
    return "\n".join(lines)


def run(app: App, store: str) -> list[Raced]:
    """Started afresh, and raced as often in a row as it says."""
    port = free_port()
    with app.served(port, store):
        return [race(app, port) for _ in range(app.in_a_row)]


def tell(app: App, runs: list[Raced]) -> bool:
    """Print one line an app; True when a run was not as expected."""
    seen = Counter(one.outcome for one in runs)
    slowest = max(one.seconds for one in runs)
    outcomes = ", ".join(f"{often} x {' '.join(filter(None, outcome))}" for outcome, often in seen.items())
    doubt = "" if set(seen) == {app.expected} else "  NOT AS EXPECTED"
    click.echo(f"{app.name:24} {outcomes:32} slowest {slowest:4.1f} s{doubt}")
    return set(seen) != {app.expected}


if __name__ == "__main__":
    sys.exit(main())
