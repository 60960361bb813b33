"""The command `quart-counter race URL`: a race with a progress bar, its words or its JSON, and a true exit status."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import click

from quart_counter.errors import ConfigurationError
from quart_counter.lab.foreign import answers, command, target, wire, words
from quart_counter.lab.foreign.race import Race
from quart_counter.lab.foreign.row import Plan
from quart_counter.lab.html.file import PageFile
from quart_counter.lab.progress import Progress, stopped_in_order

STATUS: Final = {"RACY": 1, "NO_RACE_SEEN": 0, "INCONCLUSIVE": 3}
COLOURS: Final = {"RACY": "red", "NO_RACE_SEEN": "green", "INCONCLUSIVE": "yellow"}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line says, as it says it. Raises: ConfigurationError where that cannot be meant."""

    clients: int
    requests: int | None
    history_dir: str | None
    html_file: str | None
    as_json: bool
    explain: bool
    method: str
    headers: Sequence[str]
    body: str | None
    answer: str | None
    read_url: str | None
    start: int | None
    per_client: bool
    gaps_allowed: bool
    repeat: int
    timeout_s: float
    owned: Sequence[str]

    def plan(self) -> Plan:
        """Return how the race is run and judged."""
        if self.per_client and self.read_url is not None:
            raise ConfigurationError("--read reads one number, and with --per-client there is one for each client")
        return Plan.of(
            self.clients,
            self.requests,
            extractor=None if self.answer is None else answers.parse(self.answer),
            start=self.start,
            per_client=self.per_client,
            gaps_allowed=self.gaps_allowed,
            repeat=self.repeat,
            timeout_s=self.timeout_s,
        )

    def aim(self, url: str) -> target.Target:
        """Return what is raced."""
        body = b"" if self.body is None else target.body_of(self.body)
        return target.aim(url, target.compose(url, self.method, self._headers(), body), self.owned)

    def aim_read(self) -> target.Target | None:
        """Return what is read."""
        if self.read_url is None:
            return None
        return target.aim(self.read_url, target.compose(self.read_url, "GET", self._headers()), self.owned)

    def _headers(self) -> list[target.Header]:
        return [target.header(line) for line in self.headers]

    def again(self, url: str, plan: Plan) -> Sequence[str]:
        """Return the command that does the same."""
        asked = {"method": self.method, "header": self.headers, "body": self.body, "answer": self.answer}
        judged = {"read": self.read_url, "start": self.start, "per-client": plan.per_client}
        more = {
            "gaps-allowed": plan.gaps_allowed,
            "repeat": plan.repeat,
            "timeout": plan.timeout_s,
            "i-own": self.owned,
        }
        return command.words(url, clients=self.clients, requests=plan.requests, **asked, **judged, **more)


def race(url: str, asked: Asked) -> int:
    """Race one URL, print what was learnt (also when interrupted), and return the exit status."""
    plan, aimed, reading = asked.plan(), asked.aim(url), asked.aim_read()
    page_file = None if asked.html_file is None else PageFile(Path(asked.html_file))
    note = ""
    with Progress(aimed.url, plan.most, silent=asked.as_json) as progress:
        under_way = Race(aimed.url, asked.method, plan, progress.heard)
        try:
            with stopped_in_order():
                asyncio.run(_run(under_way, aimed, reading))
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            note = "Interrupted: this is what had been learnt by then."
    row = under_way.row()
    if asked.history_dir is not None:
        row.keep(Path(asked.history_dir))
    click.echo(json.dumps({"rows": [row.document()]}, indent=2) if asked.as_json else words.text(row, _coloured))
    if asked.explain:
        click.echo("\n" + words.steps(row), err=asked.as_json)
    if page_file is not None:
        page_file.write([row], commands=[asked.again(url, plan)], note=note)
    return STATUS[row.verdict]


async def _run(race: Race, aimed: target.Target, reading: target.Target | None) -> None:
    async with wire.over_sockets(aimed, race.plan.clients) as client:
        add = partial(client, aimed.request)
        if reading is None:
            await race.run(add)
            return
        async with wire.over_sockets(reading, 1) as reader:
            await race.run(add, reader(reading.request))


def _coloured(verdict: str) -> str:
    return click.style(verdict, fg=COLOURS[verdict])
