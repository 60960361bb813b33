"""`quart-counter token new`: a token for a client, and the line that lets the service know it."""

from __future__ import annotations

import os
from collections.abc import Iterable

import click

from quart_counter.access.tokens import Credential, new_token
from quart_counter.errors import ConfigurationError


def new(
    scopes: Iterable[str],
    prefixes: Iterable[str],
    *,
    expires: str,
    id: str,
    rate: str,
    max_names: int | None,
    file: str | None,
) -> None:
    """Make a token and print it, once; put its line into `file`, or print that too."""
    token, kept = new_token(
        _words(scopes), prefixes=_words(prefixes), expires=expires, id=id, rate=rate, max_names=max_names
    )
    if file is not None:
        _append(file, kept)
    click.echo("The token, which is not kept anywhere and not shown again:", err=True)
    click.echo(token)
    if file is not None:
        return click.echo(f"Its line is in {file}; a service that was started with it knows the token now.", err=True)
    click.echo(
        "Its line, for the file of serve --tokens (or in QUART_COUNTER_TOKENS); it tells nobody the token:", err=True
    )
    click.echo(kept.line())


def _words(given: Iterable[str]) -> list[str]:
    return [word for one in given for word in one.split(",") if word]


def _append(path: str, kept: Credential) -> None:
    try:
        with open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+", encoding="utf-8") as file:
            whole = file.read()
            file.write(("\n" if whole and not whole.endswith("\n") else "") + kept.line() + "\n")
    except OSError as error:
        raise ConfigurationError(f"--file {path} cannot be written ({error.strerror})") from error
