"""What `quart-counter race URL` prints: a table, the verdict in a sentence, the witness as lanes, or JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from quart_counter.errors import ConfigurationError
from quart_counter.lab.checker import ANOMALIES
from quart_counter.lab.foreign import answers, command, target, wire
from quart_counter.lab.foreign.race import Plan, Race, Row
from quart_counter.lab.html.file import PageFile
from quart_counter.lab.lanes import draw
from quart_counter.lab.progress import Progress

STATUS: Final = {"RACY": 1, "NO_RACE_SEEN": 0, "INCONCLUSIVE": 3}
COLOURS: Final = {"RACY": "red", "NO_RACE_SEEN": "green", "INCONCLUSIVE": "yellow"}


def race(
    url: str,
    *,
    clients: int,
    requests: int | None,
    history_dir: str | None,
    html_file: str | None,
    as_json: bool,
    method: str,
    headers: Sequence[str],
    body: str | None,
    answer: str | None,
    read_url: str | None,
    start: int | None,
    per_client: bool,
    gaps_allowed: bool,
    repeat: int,
    timeout_s: float,
    owned: Sequence[str],
) -> int:
    """Race one URL, print what was learnt (also when interrupted), and return the exit status."""
    if per_client and read_url is not None:
        raise ConfigurationError("--read reads one number, and with --per-client there is one for each client")
    requests = requests or clients * (3 if per_client else 1)
    plan = Plan(
        clients=min(clients, requests),
        requests=requests,
        extractor=None if answer is None else answers.parse(answer),
        start=start,
        per_client=per_client,
        gaps_allowed=gaps_allowed,
        repeat=repeat,
        timeout_s=timeout_s,
    )
    aimed = target.aim(url, method, headers, body, owned)
    reading = None if read_url is None else target.aim(read_url, "GET", headers, None, owned)
    page_file = None if html_file is None else PageFile(Path(html_file))
    note = ""
    with Progress(url, requests * repeat, silent=as_json) as progress:
        under_way = Race(url, method, plan, progress.heard)
        try:
            asyncio.run(_run(under_way, aimed, reading))
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            note = "Interrupted: this is what had been learnt by then."
    row = under_way.row()
    if history_dir is not None:
        row.keep(Path(history_dir))
    click.echo(json.dumps({"rows": [row.document()]}, indent=2) if as_json else text(row))
    if page_file is not None:
        asked = {"method": method, "header": headers, "body": body, "answer": answer, "read": read_url, "start": start}
        more = {"per-client": per_client, "gaps-allowed": gaps_allowed, "repeat": repeat, "timeout": timeout_s}
        words = command.words(url, clients=clients, requests=requests, **asked, **more, **{"i-own": owned})
        page_file.write([row], commands=[words], note=note)
    return STATUS[row.verdict]


async def _run(race: Race, aimed: target.Target, reading: target.Target | None) -> None:
    async with wire.over_sockets(aimed, race.plan.clients) as client:
        if reading is None:
            await race.run(client)
            return
        async with wire.over_sockets(reading, 1) as reader:
            await race.run(client, reader())


def text(row: Row) -> str:
    """Return the row for a person: what was asked, what was counted, what follows, and the witness."""
    document = row.document()
    lines = [
        f"{row.method} {row.url}, the number is {_where(row)}",
        "",
        *_pairs(document),
        "",
        f"{click.style(row.verdict, fg=COLOURS[row.verdict])}: {sentence(row)}",
    ]
    if row.troubles:
        lines += ["", *(f"  {count} x {trouble}" for trouble, count in row.troubles.items())]
    if row.judged.witness:
        lines += ["", draw(row.judged.witness)]
    return "\n".join(lines)


def sentence(row: Row) -> str:
    """Return what follows from the race."""
    if row.verdict == "RACY":
        return row.judged.reason
    if row.verdict == "INCONCLUSIVE":
        return row.doubt
    return f"0 duplicates in {len(row.adds):,} requests, up to {row.max_in_flight:,} in flight"


def _where(row: Row) -> str:
    return "the only integer in the answer" if row.extractor.kind == "text" else str(row.extractor)


def _pairs(document: dict[str, Any]) -> list[str]:
    counted = ("clients", "requests", "ok", "fail", "unknown", "distinct", "final", "max_in_flight")
    return [
        "  ".join(f"{name.replace('_', ' ')} {_cell(document[name])}" for name in names)
        for names in (counted, ANOMALIES, ("p50_ms", "p99_ms"))
    ]


def _cell(value: Any) -> str:
    return "-" if value is None else str(value)
