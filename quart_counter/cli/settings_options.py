"""What `serve` takes for the settings: an option for each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, Final, TypeVar

import click

from quart_counter.settings import Settings

Command = TypeVar("Command", bound=Callable[..., Any])

NOT_FLAGS: Final = {"secret_key": "a flag would show it to everybody in ps", "lab": "the lab sets it"}


def every_setting(command: Command) -> Command:
    """Add an option for each setting of the table; the flag beats QUART_COUNTER_<NAME>, which beats the default."""
    for one in reversed(fields(Settings)):
        if one.name in NOT_FLAGS:
            continue
        shown = f"{one.metadata['help']}  [default: {one.default!s}]" if one.default != "" else one.metadata["help"]
        kind: dict[str, Any] = {"type": type(one.default)}
        if isinstance(one.default, bool):
            kind = {"is_flag": True, "default": None}
        elif one.name == "mode":
            kind = {"metavar": "MODE"}
        command = click.option(f"--{one.name.replace('_', '-')}", one.name, help=shown, **kind)(command)
    return command
