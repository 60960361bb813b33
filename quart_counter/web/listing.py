"""`GET /counters`: names and readings in the order of names, a page at a time; each token sees its own names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from quart_counter.access.tokens import Credential
from quart_counter.counters import Counters
from quart_counter.errors import InvalidChange
from quart_counter.model import NAME, check_name
from quart_counter.web import answers, parse
from quart_counter.web.answers import Answer, Problem

PAGE_LIMIT: Final = 1000
# What follows a prefix comes before this, for no name has more characters and none a greater one.
LAST: Final = "~" * 64


async def answer(counters: Counters, query: bytes, credential: Credential | None) -> Answer:
    """Answer one page. Raises Problem and StoreAway."""
    parameters = parse.query(query, ("after", "limit"))
    after, limit = parameters.get("after", ""), parameters.get("limit", "100")
    if not (limit.isascii() and limit.isdigit() and len(limit) <= 9 and 1 <= int(limit) <= PAGE_LIMIT):
        raise Problem(422, f"limit must be a whole number from 1 to {PAGE_LIMIT}.", kind="field")
    try:
        check_name(after or "any")
    except InvalidChange as invalid:
        raise Problem(422, f"after: {invalid}.", kind="field") from None
    names = await _names(counters, after, int(limit), credential.prefix if credential else ())
    readings = await counters.look_at(names)
    rows = [{"name": name, **reading._asdict()} for name, reading in zip(names, readings, strict=True)]
    return answers.document({"counters": rows, "next": names[-1] if len(names) == int(limit) else None})


async def _names(counters: Counters, after: str, limit: int, prefixes: Sequence[str]) -> Sequence[str]:
    """Return the next names; only those with one of the `prefixes`, if there are any."""
    names: list[str] = []
    for prefix in _apart(prefixes) or ("",):
        start = max(after, _just_before(prefix))
        if len(names) < limit and (not prefix or start < prefix + LAST):
            found = await counters.names(start, limit - len(names))
            # clients' own numbers come after all that are names
            names += [name for name in found if name.startswith(prefix) and NAME.fullmatch(name)]
    return names


def _apart(prefixes: Sequence[str]) -> list[str]:
    """Return the prefixes in order, without those that begin with another one."""
    return [one for one in sorted(prefixes) if not one.startswith(tuple({*prefixes} - {one}))]


def _just_before(prefix: str) -> str:
    """Return a word that is smaller than the names with this prefix, and greater than all names before them."""
    return prefix and prefix[:-1] + chr(ord(prefix[-1]) - 1) + LAST
