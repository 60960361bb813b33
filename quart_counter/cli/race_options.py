"""What `race` takes for a URL, and what it takes for our own modes; the two do not mix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource

from quart_counter.errors import ConfigurationError

Command = TypeVar("Command", bound=Callable[..., Any])

OF_A_URL: Final = (
    *("method", "headers", "body", "answer", "read_url", "start"),
    *("per_client", "gaps_allowed", "repeat", "timeout_s", "owned"),
)
OF_MODES: Final = ("workers", "url")


def of_a_url(command: Command) -> Command:
    """Add the options that say what is called behind a URL, and how its answers are judged."""
    for option in (
        click.option("--i-own", "owned", multiple=True, metavar="HOST", help="a host that is yours, to be raced"),
        click.option("--timeout", "timeout_s", type=click.FloatRange(0.1, 600), default=10.0, help="seconds a request"),
        click.option("--repeat", type=click.IntRange(1), default=1, help="volleys, until one shows a race"),
        click.option("--gaps-allowed", is_flag=True, help="numbers may be left out, as database sequences do"),
        click.option("--per-client", is_flag=True, help="each client is to see its own 1, 2, 3"),
        click.option("--start", type=int, help="the value before the first request  [default: not known]"),
        click.option("--read", "read_url", metavar="URL", help="a GET that answers the value, asked before and after"),
        click.option("--answer", metavar="WHERE", help="the number: json:/pointer, regex:PATTERN or header:NAME"),
        click.option("--body", metavar="TEXT|@FILE", help="what every request carries"),
        click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="may be given several times"),
        click.option("--method", default="POST", show_default=True, help="of every request"),
    ):
        command = option(command)
    return command


def for_a_url(modes: Sequence[str], options: dict[str, Any]) -> dict[str, Any] | None:
    """Return the options of a race of a URL, or None where none is named. Raises: ConfigurationError on a mixture."""
    ctx = click.get_current_context()
    given = [name for name in options if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT]
    if not any("://" in mode for mode in modes):
        for flag in (_flag(ctx, name) for name in given if name in OF_A_URL):
            raise ConfigurationError(f"{flag} is about a URL: write race http://... {flag}")
        return None
    if len(modes) > 1:
        raise ConfigurationError("race one URL at a time, without modes beside it")
    for flag in (_flag(ctx, name) for name in given if name in OF_MODES):
        raise ConfigurationError(f"{flag} is about our own modes; nothing is known of the server behind a URL")
    return {name: value for name, value in options.items() if name not in OF_MODES}


def for_modes(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a race of our own modes."""
    return {name: value for name, value in options.items() if name not in OF_A_URL}


def _flag(ctx: click.Context, name: str) -> str:
    return next(parameter.opts[0] for parameter in ctx.command.params if parameter.name == name)
