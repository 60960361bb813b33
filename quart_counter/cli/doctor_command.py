"""`quart-counter doctor`: which backends can be used here, what they promise as configured, what mends the others."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from quart_counter.errors import ConfigurationError
from quart_counter.extras import install
from quart_counter.serving.banner import SHARED_BY, SURVIVES
from quart_counter.settings import load_settings
from quart_counter.settings.modes import MODES, mode_of
from quart_counter.settings.secret import without_secret
from quart_counter.stores import Guarantees, Limits, open_store

PATIENCE: Final = Limits(store_timeout_s=1.0, deadline_s=2.0)
# What starts a server that is missing; each command is whole.
REMEDY: Final[Mapping[str, str]] = {
    "redis": "apt-get install redis-server && redis-server --appendonly yes  (or: quart-counter serve --with-redis)",
    "postgres": "apt-get install postgresql && service postgresql start",
    "mysql": "apt-get install mariadb-server && service mariadb start",
    "memcached": "apt-get install memcached && service memcached start",
}


class Finding(NamedTuple):
    """What one mode's store answered: its guarantees, or the sentence that says why it cannot be used."""

    mode: str
    url: str
    guarantees: Guarantees | None
    trouble: str


def doctor(modes: Sequence[str], urls: Sequence[str], *, as_json: bool) -> int:
    """Look at each backend, print what was found, and return 0 if all of them can be used, else 2."""
    findings = asyncio.run(_look_at(_addresses(modes, urls)))
    if as_json:
        click.echo(json.dumps({"backends": [_document(finding) for finding in findings]}, indent=2))
    else:
        click.echo("\n".join(line for finding in findings for line in _lines(finding)))
    return 0 if all(finding.guarantees for finding in findings) else 2


def _addresses(modes: Sequence[str], urls: Sequence[str]) -> list[tuple[str, str]]:
    """Return modes and URLs: those named, else every mode that is no exhibit; a URL given counts for its mode."""
    for mode in modes:
        load_settings({}, mode=mode)  # says which modes there are
    given = [(mode_of(url.partition(":")[0]), url) for url in urls]
    wanted = modes or ([] if urls else [name for name, mode in MODES.items() if not mode.exhibit])
    named = {mode for mode, _ in given}
    return given + [(mode, MODES[mode].default_url) for mode in wanted if mode not in named]


async def _look_at(addresses: Sequence[tuple[str, str]]) -> list[Finding]:
    with tempfile.TemporaryDirectory(prefix="quart-counter-doctor-") as folder:
        return [await _look(mode, url, Path(folder)) for mode, url in addresses]


async def _look(mode: str, url: str, folder: Path) -> Finding:
    # A file store is tried in a folder of ours: to look must leave nothing behind.
    private = url == MODES[mode].default_url and mode in ("sqlite", "file")
    try:
        async with open_store(f"{mode}:{folder / mode}" if private else url, PATIENCE) as store:
            return Finding(mode, url, store.guarantees, "")
    except ConfigurationError as error:
        return Finding(mode, url, None, str(error))


def _document(finding: Finding) -> dict[str, Any]:
    return {
        "mode": finding.mode,
        "url": without_secret(finding.url),
        "usable": finding.guarantees is not None,
        "guarantees": asdict(finding.guarantees) if finding.guarantees else None,
        "trouble": finding.trouble or None,
        "remedy": _remedy(finding),
    }


def _lines(finding: Finding) -> list[str]:
    head = f"{finding.mode:<10} {without_secret(finding.url)}"
    promises = finding.guarantees
    if promises is None:
        return [
            f"{click.style('missing', fg='red')}  {head}",
            f"         {finding.trouble}",
            f"         {_remedy(finding)}",
        ]
    shared, survives = SHARED_BY.get(promises.scope, promises.scope), SURVIVES[promises.durable]
    kept = f"shared by {shared}; survives {survives}; {'' if promises.exactly_once else 'not '}exactly once by key"
    lines = [f"{click.style('ok', fg='green')}       {head}  {promises.server}".rstrip(), f"         {kept}"]
    return lines + [f"         {note}" for note in promises.notes]


def _remedy(finding: Finding) -> str | None:
    if finding.guarantees is not None:
        return None
    if "pip install" in finding.trouble:
        return f"run: {install(finding.mode)}"
    return f"run: {REMEDY.get(finding.mode, 'quart-counter serve --help')}"
