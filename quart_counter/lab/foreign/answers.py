"""The number in an answer: where it is said to be, or where it must be because there is only one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from quart_counter.errors import ConfigurationError
from quart_counter.lab.foreign import patience

# one that stands alone: no part of a word, a fraction, a date, a time
INTEGER: Final = re.compile(r"(?<![\w.-])(?<!\d[:/,])-?\d+(?!\w|[.:/,-]\d)")
DIGITS: Final = r"\d+"
WHOLE: Final = re.compile(r"\s*([+-]?\d{1,30})\s*")
NOT_COUNTERS: Final = frozenset({"content-length", "age", "retry-after", "keep-alive", "x-content-duration"})
OBVIOUS: Final = frozenset({"value", "number", "count", "counter", "n"})  # what a JSON answer calls it, if once only
SHOWN: Final = 10  # candidates
PATTERN_S: Final = 0.25  # for one answer; a megabyte takes a pattern that goes forward some hundredths
NO_JSON: Final = object()
_STATUSES: Final = frozenset(status.value for status in HTTPStatus)


def printable(text: str) -> str:
    """Return what a server said so that it can do nothing to a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class Answer(NamedTuple):
    """What a server answered. Header names are in lower case."""

    status: int
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    reason: str = ""

    def header(self, name: str) -> str | None:
        """Return the first header of this name."""
        return next((value for given, value in self.headers if given == name.lower()), None)

    @property
    def text(self) -> str:
        """The body as text; what is not UTF-8 is replaced, as numbers never are."""
        return self.body.decode(errors="replace")

    @property
    def json(self) -> Any:
        """The body as JSON, or NO_JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return NO_JSON

    @property
    def title(self) -> str:
        """What it is called: `404 Not Found`."""
        known = HTTPStatus(self.status).phrase if self.status in _STATUSES else ""
        return f"{self.status} {printable(self.reason) or known}".strip()


class Extractor(NamedTuple):
    """Where the number is: `json:/pointer`, `regex:...`, `header:NAME`, or `text:`, the only integer there is."""

    kind: str
    where: str
    among: int = 1  # integers, of which it was taken for its name

    def __str__(self) -> str:
        """Return it as --answer takes it."""
        return f"{self.kind}:{self.where}"

    def number(self, answer: Answer) -> int | None:
        """Return the number, or None if the answer holds none there."""
        return _FINDERS[self.kind](answer, self.where)


class Candidate(NamedTuple):
    """A number in an answer, and the extractor that finds it."""

    extractor: Extractor
    number: int


def parse(given: str) -> Extractor:
    """Return the extractor that --answer names. Raises: ConfigurationError."""
    kind, _, where = given.partition(":")
    if kind not in _FINDERS or (kind == "header" and not where) or (kind == "json" and where[:1] not in ("", "/")):
        raise ConfigurationError(
            f"--answer {given!a} says no place for a number: write json:/pointer, regex:PATTERN or header:NAME"
        )
    if kind == "regex":
        try:
            re.compile(where)
        except re.error as error:
            raise ConfigurationError(f"--answer {given!a} is not a regular expression ({error})") from None
    return Extractor(kind, where)


def agree(answer: Answer) -> Extractor:
    """Return the extractor of the only integer in the answer's body, or of the only one with an obvious name.

    Raises: ConfigurationError, with the choices.
    """
    found = candidates(answer)
    in_body = [candidate for candidate in found if candidate.extractor.kind != "header"]
    if len(in_body) == 1:
        return in_body[0].extractor
    named = [candidate.extractor for candidate in in_body if _obvious(candidate.extractor)]
    if len(named) == 1:
        return named[0]._replace(among=len(in_body))
    if not found:
        hint = (
            "; if one stands within a word, name it with --answer 'regex:PATTERN'"
            if re.search(DIGITS, answer.text)
            else ""
        )
        raise ConfigurationError(f"the answer ({answer.title}) holds no integer: {excerpt(answer)}{hint}")
    lines = [
        f"  --answer '{printable(str(candidate.extractor))}'  now {candidate.number}" for candidate in found[:SHOWN]
    ]
    more = [f"  and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    what = f"{len(in_body)} integers" if in_body else "no integer in its body, but in its headers"
    which = f"say which one counts (in a test: answer={printable(str(found[0].extractor))!r})"
    raise ConfigurationError("\n".join([f"the answer holds {what}:", *lines, *more, which]))


def _obvious(extractor: Extractor) -> bool:
    return extractor.kind == "json" and extractor.where.rpartition("/")[2].lower() in OBVIOUS


def candidates(answer: Answer) -> list[Candidate]:
    """Return every integer of the answer with what finds it: those of the body, then those of the headers."""
    document = answer.json
    try:
        body = list(_in_text(answer.text)) if document is NO_JSON else list(_in_json(document, ""))
    except RecursionError:  # nested more deeply than we follow, and not than the parser does
        body = list(_in_text(answer.text))
    heads = [
        Candidate(Extractor("header", name), int(value))
        for name, value in answer.headers
        if WHOLE.fullmatch(value) and name not in NOT_COUNTERS
    ]
    return [*body, *heads]


def excerpt(answer: Answer) -> str:
    """Return the beginning of the body, fit for one line of an error."""
    text = " ".join(answer.text.split())
    if not text:
        return "its body is empty"
    return ascii(text if len(text) <= 120 else text[:117] + "...")


def _in_json(value: Any, pointer: str) -> Iterator[Candidate]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _in_json(inner, f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}")
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _in_json(inner, f"{pointer}/{i}")
    else:
        number = _whole(value)
        if number is not None:
            yield Candidate(Extractor("json", pointer), number)


def _in_text(text: str) -> Iterator[Candidate]:
    found = list(INTEGER.finditer(text))
    for match in found:
        only = len(found) == 1
        extractor = Extractor("text", "") if only else Extractor("regex", _pattern(text, match))
        yield Candidate(extractor, int(match[0][:30]))


def _pattern(text: str, match: re.Match[str]) -> str:
    """Return a pattern that finds the number again by what stands before it on its line, else by how many do."""
    before = text[: match.start()]
    line = before.rpartition("\n")[2]
    by_words = f"{_any_numbers(line[-16:])}(-?\\d+)"
    found = re.search(by_words, text)
    if found and found.start(1) == match.start():
        return by_words
    return rf"\A(?:\D*\d+){{{len(re.findall(DIGITS, before))}}}\D*?(-?\d+)"


def _any_numbers(text: str) -> str:
    """Return a pattern of the text with any digits in place of its own."""
    words = (re.escape(word).replace("\\ ", " ") for word in re.split(DIGITS, text))
    return DIGITS.join(words)


def _whole(value: Any) -> int | None:
    """Return an integer, also one that is written as a string; true is none."""
    if type(value) is int:
        return value
    match = WHOLE.fullmatch(value) if isinstance(value, str) else None
    return int(match[1]) if match else None


def _by_pointer(answer: Answer, pointer: str) -> int | None:
    """RFC 6901."""
    value = answer.json
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, Mapping):
            value = value.get(name)
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return _whole(value)


def _by_pattern(answer: Answer, pattern: str) -> int | None:
    if pattern in _ENDLESS:
        raise ConfigurationError(_ENDLESS[pattern])
    text = answer.text
    try:
        with patience.of(PATTERN_S):
            match = re.search(pattern, text)
    except patience.AtAnEnd:
        _ENDLESS[pattern] = (
            f"--answer regex:{pattern} does not come to an end: {PATTERN_S:g} s on an answer of {len(text)} "
            "characters; say what stands before the number, and repeat nothing that repeats, as in regex:value=(\\d+)"
        )
        raise ConfigurationError(_ENDLESS[pattern]) from None
    return None if match is None else _whole(match[1] if match.re.groups else match[0])


_ENDLESS: Final[dict[str, str]] = {}  # patterns that were given up: of a hundred answers that are here, one is enough


def _by_header(answer: Answer, name: str) -> int | None:
    return _whole(answer.header(name))


def _the_only_one(answer: Answer, _: str) -> int | None:
    found = INTEGER.findall(answer.text)
    return _whole(found[0]) if len(found) == 1 else None


_FINDERS: Final = {"json": _by_pointer, "regex": _by_pattern, "header": _by_header, "text": _the_only_one}
