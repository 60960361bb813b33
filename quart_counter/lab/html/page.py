"""Puts the parts into one page: report.html, with its styles and report.js inside, and leave for nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import chain, repeat
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from quart_counter.lab.html import looks, setting, words
from quart_counter.lab.html.calls import Call, Owner, calls
from quart_counter.lab.html.grid import Grid, grid
from quart_counter.lab.html.lanes import Lanes, lanes
from quart_counter.lab.html.plots import ACROSS, COLUMNS, UP, Latency, Overlap, latency, overlap
from quart_counter.lab.lanes import elapsed

ROOM: Final = Path(__file__).parent
STYLES: Final = (ROOM.parents[1] / "web/static/dispenser.css", ROOM / "report.css")
SCRIPTS: Final = (ROOM / "report.js",)


@dataclass(frozen=True)
class Sheet:
    """One row as the template reads it."""

    row: Any
    number: int
    typed: Sequence[str] = ()

    @cached_property
    def document(self) -> Mapping[str, Any]:
        """The JSON contract, with a reason and a diagnosis."""
        return looks.document(self.row)

    @cached_property
    def calls(self) -> Sequence[Call]:
        """Every recorded call."""
        told = (self.document["diagnosis"] or self.document).get("witness", ())
        return calls(self.row.operations, getattr(self.row, "owners", {}), told)

    @property
    def id(self) -> str:
        """Its anchor on the page."""
        return f"race-{self.number}"

    @property
    def title(self) -> str:
        """Who was raced."""
        return words.title(self.document)

    @property
    def crowd(self) -> str:
        """By whom."""
        return words.crowd(self.document)

    @property
    def label(self) -> str:
        """The verdict as stamped."""
        return words.label(self.document)

    @property
    def verdict(self) -> str:
        """The verdict as a sentence."""
        return words.verdict(self.document)

    @property
    def reason(self) -> str:
        """The judge's own sentence about the witness."""
        return words.reason(str(self.document["reason"]))

    @property
    def findings(self) -> Sequence[words.Finding]:
        """The six anomalies."""
        return words.findings(self.document)

    @cached_property
    def grid(self) -> Grid | None:
        """Each number a cell."""
        apart = self.label == "SCOPED" or bool(getattr(getattr(self.row, "plan", None), "per_client", False))
        return grid(self.calls, self.document, apart=apart)

    @cached_property
    def lanes(self) -> Lanes | None:
        """The calls around the witness."""
        return lanes(self.calls)

    @cached_property
    def latency(self) -> Latency | None:
        """How long each took."""
        return latency(self.calls)

    @cached_property
    def overlap(self) -> Overlap | None:
        """How many were under way."""
        return overlap(self.calls)

    @cached_property
    def owners(self) -> Sequence[Owner]:
        """The server processes, where they are known and more than one."""
        return sorted({call.owner for call in self.calls if call.owner})

    @property
    def command(self) -> str:
        """What repeats it."""
        return setting.command(self.typed or setting.told(self.document))


def page(
    rows: Sequence[Any], *, commands: Sequence[Sequence[str]] = (), note: str = "", when: datetime | None = None
) -> str:
    """Return the page.

    `commands`: the words that repeat each race, where the document does not tell them all. `note`: what the reader has
    to know, as that it is partial.
    """
    given = chain(commands, repeat(()))
    sheets = [Sheet(row, number, command) for number, (row, command) in enumerate(zip(rows, given, strict=False), 1)]
    style, script = _inside(STYLES), _inside(SCRIPTS)
    template = _templates().get_template("report.html")
    return template.render(
        sheets=sheets,
        summary=words.summary([sheet.document for sheet in sheets]),
        note=note,
        when=(when or datetime.now(UTC)).astimezone(UTC),
        environment=setting.environment(),
        style=style,
        script=script,
        policy=_policy(style, script),
        fields=(ACROSS, UP, COLUMNS),
    )


def _templates() -> Environment:
    templates = Environment(
        loader=FileSystemLoader(ROOM),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["elapsed"] = elapsed
    templates.filters["plural"] = words.plural
    return templates


def _inside(files: Iterable[Path]) -> str:
    """What goes between the tags, to the letter: its hash is in the page's policy."""
    return "\n".join(["", *(file.read_text(encoding="utf-8") for file in files)])


def _policy(style: str, script: str) -> str:
    """Nothing may be loaded, and nothing runs but the script that we wrote."""
    return f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; img-src data:"


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
