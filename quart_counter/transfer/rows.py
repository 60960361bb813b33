"""A counter on its way from one place to another, and the line it travels as: {"name": …, "value": …, "version": …}."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from quart_counter.errors import InvalidChange
from quart_counter.model import Change, check_change

LONGEST_LINE: Final = 1 << 16
WHOLE: Final = re.compile(r"0|-?[1-9][0-9]{0,19}", re.ASCII)  # as Redis writes it; int() takes 1_000 and " 7 "


class Row(NamedTuple):
    """What is kept of a counter when it moves: all but its idempotency keys."""

    name: str
    value: int
    version: int = 1


def restore(row: Row) -> Change:
    """Return the change that makes this counter where there is none. Raises InvalidChange."""
    for field, number in (("value", row.value), ("version", row.version)):
        if number is None:  # which would make another change of it
            raise InvalidChange(f"{field} must be a whole number, not null")
    return check_change(Change(row.name, value=row.value, version=row.version, if_version=0))


def whole(text: str) -> int:
    """Return the whole number that this is, letter by letter. Raises ValueError."""
    if not WHOLE.fullmatch(text):
        raise ValueError(text)
    return int(text)


def to_line(row: Row) -> bytes:
    """Write a counter down, in ASCII."""
    return json.dumps(row._asdict(), separators=(",", ":")).encode() + b"\n"


def from_line(line: bytes) -> Row:
    """Read what `to_line` wrote, or a person; a version that is missing is 1. Raises InvalidChange."""
    try:
        document = json.loads(line, object_pairs_hook=_each_once)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise InvalidChange('it is not a line like {"name":"tickets","value":7,"version":7}')
    if lacking := [field for field in ("name", "value") if field not in document]:
        raise InvalidChange(f"it has no {lacking[0]}")
    if strange := document.keys() - set(Row._fields):
        raise InvalidChange(f"it has a field {min(strange)!r:.100}: there are {', '.join(Row._fields)}")
    row = Row(**document)
    restore(row)
    return row


def _each_once(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError
    return fields
