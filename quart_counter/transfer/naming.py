"""What a counter is called that had a name elsewhere: `shop:tickets` becomes `tickets`, `a:b` becomes `a.b`."""

from __future__ import annotations

from collections.abc import Sequence

from quart_counter.errors import ConfigurationError, InvalidChange
from quart_counter.model import NAME


class Naming:
    """Cuts `prefix` from the front of every key, then writes each `(old, new)` of `pairs`. No two keys get one name.

    That is checked without remembering any key: what a name turns back into must be the key it came from.
    """

    def __init__(self, prefix: str = "", pairs: Sequence[tuple[str, str]] = ()) -> None:
        self._prefix, self._pairs = prefix, pairs

    def name(self, key: str) -> str:
        """Return the counter's name. Raises InvalidChange with the option that helps."""
        if not key.startswith(self._prefix):
            raise InvalidChange(f"{key!r:.200} does not begin with {self._prefix!r}, which --cut is to cut off")
        rest = key[len(self._prefix) :]
        name = rest
        for old, new in self._pairs:
            name = name.replace(old, new)
        if not NAME.fullmatch(name):
            became = "" if name == key else f"became {name!r:.200}, which "
            raise InvalidChange(
                f"{key!r:.200} {became}is no counter name: names are 1 to 64 of A-Z a-z 0-9 . _ ~ - and start with a "
                "letter or digit; --map :=. writes a dot for each colon, --cut shop: drops that prefix"
            )
        back = name
        for old, new in reversed(self._pairs):
            back = back.replace(new, old)
        if back != rest:
            raise InvalidChange(
                f"{key!r:.200} would share the name {name} with another key: --map to something that no key has"
            )
        return name


def pair(text: str) -> tuple[str, str]:
    """Read `OLD=NEW`. Raises ConfigurationError."""
    old, equals, new = text.partition("=")
    if not old or not equals or not new:
        raise ConfigurationError(f"--map {text}: write what is to become what, for example --map :=.")
    return old, new
