"""The command that runs a race again, for a page that others read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

DEFAULTS: Final = {"method": "POST", "repeat": 1, "timeout": 10.0}


def words(url: str, **options: Any) -> Sequence[str]:
    """Return `quart-counter race URL` with those options that say something; underscores are hyphens."""
    told = ["quart-counter", "race", url]
    for name, value in options.items():
        if value is None or value is False or value == DEFAULTS.get(name):
            continue
        flag = f"--{name}"
        if value is True:
            told.append(flag)
            continue
        for one in value if isinstance(value, list | tuple) else [value]:
            told += [flag, str(one)]
    return told
