"""Tokens: who may do what. Kept as hashes only, a line each, in a file or in the environment.

    id=web scope=increment,read prefix=tickets. expires=2027-01-31T12:00:00Z sha256=9f86d0…

The hash stands last: a line that was cut short has none, and opens nothing.

A token is 256 random bits, so a plain SHA-256 hides it: there is no dictionary to guess from, and a slow hash would
only slow us down. It is looked up by that hash; what the time of a lookup could tell is about the hash of a guess,
from which no token follows.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import stat
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Final

from quart_counter.access.rates import Rate, parse_rate
from quart_counter.errors import ConfigurationError

SCOPES: Final = ("read", "increment", "set", "admin")  # set: also reset; admin: everything, and everybody's names
LOOK_AGAIN_S: Final = 1.0  # how long a change of the file may go unnoticed
SETTLE_S: Final = 1.0  # how long a file that is written in place has to stay as it is before it is believed

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", re.ASCII)
_HASH: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_PREFIX: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,63}", re.ASCII)
_LIFE: Final = re.compile(r"([1-9][0-9]{0,5})([mhd])", re.ASCII)
_SECONDS: Final = {"m": 60, "h": 3600, "d": 86_400}
_TOKEN: Final = re.compile(r"qc_[\w-]{32}", re.ASCII)
_NEW: Final = "quart-counter token new --scope admin"
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Credential:
    """What a token allows. Tokens with one `id` are one client: so a token is replaced without a gap.

    No `prefixes` means every name; `expires` is in seconds since the epoch, None is never.
    """

    id: str
    sha256: str
    scope: frozenset[str]
    prefix: tuple[str, ...] = ()
    expires: float | None = None
    rate: Rate | None = None
    max_names: int | None = None

    def has(self, scope: str) -> bool:
        """Whether it carries this scope; admin carries them all."""
        return scope in self.scope or "admin" in self.scope

    @property
    def bounds(self) -> tuple[Rate | None, int | None]:
        """How often and how much it may."""
        return self.rate, self.max_names

    def is_over(self) -> bool:
        """Whether its time is over."""
        return self.expires is not None and self.expires <= time.time()

    def reaches(self, name: str) -> bool:
        """Whether this counter's name is one of its own."""
        return not self.prefix or name.startswith(self.prefix)

    def owned(self, key: str) -> str:
        """Return the store's word for this client's idempotency key: no other client has the same one."""
        return f"{self.id}:{hashlib.sha256(key.encode()).hexdigest()}"

    def line(self) -> str:
        """Return the line of the file."""
        words = {
            "id": self.id,
            "scope": ",".join(one for one in SCOPES if one in self.scope),
            "prefix": ",".join(self.prefix),
            "expires": "" if self.expires is None else datetime.fromtimestamp(self.expires, UTC).strftime(_TIME),
            "rate": str(self.rate or ""),
            "max_names": str(self.max_names or ""),
            "sha256": self.sha256,
        }
        return " ".join(f"{word}={value}" for word, value in words.items() if value)


_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"


class Tokens:
    """The tokens in force. `source` is a file's path, or the lines themselves, parted by line ends or semicolons.

    A file is looked at again when it changes, so a token is revoked without a restart; one without a line means nobody.
    One that cannot be used any more is told in the log, and the tokens read last stay in force: a slip of the pen locks
    nobody out, and opens nothing. Raises ConfigurationError when there is nothing to be used to begin with.
    """

    def __init__(self, source: str) -> None:
        if _TOKEN.search(source):  # and not quoted
            raise ConfigurationError(
                "tokens holds a token itself: give the file that quart-counter token new --file wrote"
            )
        self._file = None if "sha256=" in source else source
        self._seen: tuple[int, ...] | None = None  # inode, time and size
        self._settling: tuple[int, ...] | None = None
        self._look_at = 0.0
        if self._file is None:
            self._by_hash = _parse("tokens", re.split(r"[\n;]", source))
            if not self._by_hash:
                raise ConfigurationError(f"tokens holds no token: {_NEW} makes one")
            return
        self._by_hash = {}
        self._read(self._file)

    def find(self, token: str) -> Credential | None:
        """Return the credential of a token; None for one that nobody has, or whose time is over."""
        self._look_again()
        found = self._by_hash.get(hash_of(token))
        return None if found is None or found.is_over() else found

    def in_force(self, found: Credential) -> bool:
        """Whether a credential that was found some time ago would be found again, word for word."""
        self._look_again()
        return self._by_hash.get(found.sha256) == found and not found.is_over()

    def _look_again(self) -> None:
        now = time.monotonic()
        if self._file is None or now < self._look_at:
            return
        self._look_at = now + LOOK_AGAIN_S
        try:
            self._read(self._file)
        except ConfigurationError as error:
            _log.error("%s; the tokens read before stay in force", error)

    def _is_being_written(self, seen: tuple[int, ...]) -> bool:
        """Whether somebody may be writing it in place, and is to be given time: half a file revokes the other half."""
        if not self._seen or seen[0] != self._seen[0] or seen == self._settling:
            return False
        self._settling, self._look_at = seen, time.monotonic() + SETTLE_S
        return True

    def _read(self, path: str) -> None:
        try:
            about = os.stat(path)
            seen = (about.st_ino, about.st_mtime_ns, about.st_size)
            if seen == self._seen or self._is_being_written(seen):
                return
            self._seen = seen
            if not stat.S_ISREG(about.st_mode):  # a pipe is read once, and waits
                raise ConfigurationError(f"tokens: {path} is no file that can be read again")
            with open(path, encoding="utf-8") as file:
                self._by_hash = _parse(path, file)
            if not self._by_hash:
                _log.warning("%s holds no token, so nobody is let in: %s --file %s makes one", path, _NEW, path)
        except OSError as error:
            if self._seen == ():
                return  # told once
            self._seen = ()
            raise ConfigurationError(f"tokens: {path} cannot be read ({error.strerror})") from error
        except UnicodeDecodeError:
            raise ConfigurationError(f"tokens: {path} is not a text file") from None


def hash_of(token: str) -> str:
    """Return what is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def new_token(
    scopes: Iterable[str],
    *,
    prefixes: Iterable[str] = (),
    expires: str = "",
    id: str = "",
    rate: str = "",
    max_names: int | None = None,
) -> tuple[str, Credential]:
    """Make a token; return it, and what to keep of it. `expires` is a life, such as 30d, 12h or 90m."""
    id = id or secrets.token_hex(4)
    token = f"qc_{secrets.token_urlsafe(32)}"
    words = {"id": id, "scope": ",".join(scopes), "prefix": ",".join(prefixes)}
    words |= {"rate": rate, "max_names": "" if max_names is None else str(max_names)}
    if expires:
        words["expires"] = datetime.fromtimestamp(time.time() + _life_s(expires), UTC).strftime(_TIME)
    words["sha256"] = hash_of(token)
    return token, _credential("the token", {word: value for word, value in words.items() if value})


def _life_s(word: str) -> int:
    found = _LIFE.fullmatch(word)
    if found is None:
        raise ConfigurationError(f"expires is {word!r}: give a life such as 30d, 12h or 90m")
    return int(found[1]) * _SECONDS[found[2]]


def _parse(source: str, lines: Iterable[str]) -> Mapping[str, Credential]:
    found: dict[str, Credential] = {}
    first: dict[str, Credential] = {}  # of each id
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        where = f"{source}, line {number}"
        one = _credential(where, _pairs(where, words))
        if one.sha256 in found:
            raise ConfigurationError(f"{where}: this sha256 is there twice")
        if first.setdefault(one.id, one).bounds != one.bounds:
            raise ConfigurationError(
                f"{where}: another token with id={one.id} has another rate or max_names, and they are one client"
            )
        found[one.sha256] = one
    return found


def _pairs(where: str, words: Iterable[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name not in _WORDS:
            raise ConfigurationError(f"{where}: write word=value with the words {', '.join(_WORDS)}")
        if name in pairs:
            raise ConfigurationError(f"{where}: {name} is there twice")
        pairs[name] = value
    return pairs


_WORDS: Final = tuple(one.name for one in fields(Credential))


def _credential(where: str, pairs: Mapping[str, str]) -> Credential:
    parts: dict[str, Any] = {"id": pairs.get("id", ""), "sha256": pairs.get("sha256", "")}
    if not _ID.fullmatch(parts["id"]):
        raise ConfigurationError(f"{where}: id must be 1 to 32 of A-Z a-z 0-9 _ - and start with a letter or digit")
    if not parts["sha256"]:
        raise ConfigurationError(f"{where}: there is no sha256, which ends a line; was it cut short?")
    if not _HASH.fullmatch(parts["sha256"]):
        raise ConfigurationError(f"{where}: sha256 must be 64 of 0-9 a-f, as quart-counter token new prints it")
    if [*pairs][-1] != "sha256":
        raise ConfigurationError(f"{where}: sha256 must stand last, so that a line that is cut short opens nothing")
    parts["scope"] = frozenset(filter(None, pairs.get("scope", "").split(",")))
    if not parts["scope"] or not parts["scope"] <= {*SCOPES}:
        raise ConfigurationError(f"{where}: scope must be one or more of {', '.join(SCOPES)}, with commas")
    if "prefix" in pairs:
        parts["prefix"] = tuple(sorted(pairs["prefix"].split(",")))
        if not all(map(_PREFIX.fullmatch, parts["prefix"])):
            raise ConfigurationError(f"{where}: prefix must be the beginning of counters' names, with commas")
        if "admin" in parts["scope"]:
            raise ConfigurationError(f"{where}: admin is for every name; leave out the prefix, or name other scopes")
    if "expires" in pairs:
        parts["expires"] = _moment(where, pairs["expires"])
    if "rate" in pairs:
        parts["rate"] = parse_rate(f"{where}: rate", pairs["rate"])
    if "max_names" in pairs:
        parts["max_names"] = _count(where, pairs["max_names"])
    return Credential(**parts)


def _moment(where: str, word: str) -> float:
    try:
        return datetime.strptime(word, _TIME).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise ConfigurationError(f"{where}: expires is {word!r}; write it as 2027-01-31T12:00:00Z") from None


def _count(where: str, word: str) -> int:
    if not (word.isascii() and word.isdigit() and 1 <= len(word) <= 12 and int(word) >= 1):
        raise ConfigurationError(f"{where}: max_names is {word!r}; give a whole number from 1")
    return int(word)
