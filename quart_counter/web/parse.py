"""Words of HTTP into model words, strictly: whatever is not exactly right is a `Problem` and counts nothing."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, NoReturn
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit

from quart_counter.errors import InvalidChange
from quart_counter.model import KEY, check_name
from quart_counter.web.answers import Problem

RawHeaders = Iterable[tuple[bytes, bytes]]

MAX_BODY: Final = 64 * 1024
TOO_LARGE: Final = f"The body is larger than {MAX_BODY} bytes; a change needs fewer than 100."
LONGEST_INT: Final = 20  # digits; longer ones are out of every range, and int() of a very long one is slow
ETAG: Final = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')  # RFC 9110, 8.8.3
OUR_ETAG: Final = re.compile(r'"(0|[1-9][0-9]{0,14})"', re.ASCII)


class Gathered(dict[bytes, bytes]):
    """A request's headers by name, in lower case as ASGI has them; `times` counts those that came more than once."""

    times: Mapping[bytes, int] = {}


def gather(headers: RawHeaders | Gathered) -> Gathered:
    """Return headers so that each can be looked up at once; one pass over them is enough for a request."""
    if isinstance(headers, Gathered):
        return headers
    pairs = [*headers]
    gathered = Gathered(pairs)
    if len(gathered) < len(pairs):
        gathered.times = {word: n for word, n in Counter(word for word, _ in pairs).items() if n > 1}
    return gathered


def header(headers: RawHeaders | Gathered, name: bytes) -> str | None:
    """Return the one value of a header, or None. Two of them are a problem: which did the client mean?"""
    gathered = gather(headers)
    value = gathered.get(name)
    if value is None:
        return None
    if name in gathered.times:
        raise Problem(400, f"Send one {name.decode().title()} header, not {gathered.times[name]}.")
    return value.decode("latin-1").strip(" \t")  # not strip(): \xa0 is no blank in a header


def name(segment: bytes) -> str:
    """Return the counter's name in a raw path segment. Decoded here, because %ff and %fe would decode to one name."""
    try:
        word = unquote_to_bytes(segment).decode("ascii")
        check_name(word)
    except (UnicodeDecodeError, InvalidChange):
        raise Problem(
            400,
            "The counter's name must be 1 to 64 of A-Z a-z 0-9 . _ ~ - and start with a letter or digit.",
            kind="name",
        ) from None
    return word


def key(headers: RawHeaders | Gathered) -> str | None:
    """Return the Idempotency-Key in its one normal form: bare or quoted (RFC 8941 string), it is the same key."""
    word = header(headers, b"idempotency-key")
    if word is None:
        return None
    if word.startswith('"'):
        word = _unquoted(word)
    if not KEY.fullmatch(word):
        raise Problem(400, "Idempotency-Key must be 1 to 255 visible ASCII characters, bare or in quotes.", kind="key")
    return word


def refuse_key(headers: RawHeaders) -> None:
    """Raise a 422 if a key came to a route that keeps none: it must not pretend to count a repeat once."""
    if key(headers) is not None:
        raise Problem(
            422,
            "This path keeps no keys, so a repeat would count again: send it without Idempotency-Key, or count below "
            "/counters. Nothing was changed.",
            kind="key-unsupported",
        )


def _unquoted(word: str) -> str:
    inner = word[1:-1]
    plain = inner.replace("\\\\", "").replace('\\"', "")
    if len(word) < 2 or not word.endswith('"') or '"' in plain or "\\" in plain:
        raise Problem(400, 'Idempotency-Key opens with a quote: close it, and escape only \\" and \\\\.', kind="key")
    return inner.replace('\\"', '"').replace("\\\\", "\\")


def if_version(headers: RawHeaders | Gathered) -> int | None:
    """Return the version that If-Match asks for; -1, which no counter has, for a tag that is not one of ours."""
    tag = header(headers, b"if-match")
    if tag is None or tag == "*":
        return None
    if not ETAG.fullmatch(tag):
        raise Problem(400, 'If-Match must be one ETag in quotes, as GET answers it: "7".', kind="if-match")
    ours = OUR_ETAG.fullmatch(tag)  # not "007": tags are compared letter by letter, and weak ones never match (13.1.1)
    return int(ours[1]) if ours else -1


def fields(headers: RawHeaders | Gathered, body: bytes, allowed: Collection[str]) -> dict[str, Any]:
    """Return the body's JSON object, {} for an empty body; only `allowed` fields."""
    if len(body) > MAX_BODY:
        raise Problem(413, TOO_LARGE)
    if not body:
        return {}
    media, _, parameters = (header(headers, b"content-type") or "").lower().partition(";")
    charset = parameters.replace(" ", "").replace('"', "")
    if media.strip() != "application/json" or charset not in ("", "charset=utf-8"):
        raise Problem(415, "Send the body as Content-Type: application/json, or send none.")
    content = _strict_json(body)
    if type(content) is not dict:
        raise Problem(422, "The body must be a JSON object.", kind="field")
    for field in content:
        if field not in allowed:
            there_are = ", ".join(sorted(allowed)) or "none"
            raise Problem(422, f"There is no field {field[:100]!a} here; there are: {there_are}.", kind="field")
    return content


def _strict_json(body: bytes) -> Any:
    try:
        return _DECODER.decode(body.decode("utf-8"))
    except RecursionError:
        raise Problem(400, "The JSON is nested too deeply.", kind="json") from None
    except ValueError as error:
        raise Problem(400, f"The body is not valid JSON: {error}.", kind="json") from None


def _only_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a field appears twice")
    return content


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON number")


def _bounded_int(digits: str) -> int:
    return int(digits) if len(digits) <= LONGEST_INT else 10**LONGEST_INT


_DECODER = json.JSONDecoder(object_pairs_hook=_only_once, parse_constant=_no_constant, parse_int=_bounded_int)


def query(raw: bytes, allowed: Collection[str]) -> dict[str, str]:
    """Return the query's parameters; only `allowed` ones, each once."""
    pairs = parse_qsl(raw.decode("latin-1"), keep_blank_values=True)
    for word, _ in pairs:
        if word not in allowed:
            raise Problem(422, f"There is no parameter {word[:100]!a} here; there are: {', '.join(sorted(allowed))}.")
    if len(dict(pairs)) < len(pairs):
        raise Problem(422, "A parameter appears twice.")
    return dict(pairs)


def refuse_foreign(headers: RawHeaders | Gathered) -> None:
    """Raise a 403 if a page of another site sends this effect. Browsers say so; other clients say nothing."""
    headers = gather(headers)
    site = header(headers, b"sec-fetch-site")
    origin = header(headers, b"origin")
    if site == "cross-site" or (origin is not None and _authority(origin) != header(headers, b"host")):
        raise Problem(403, "This was sent by a page of another site; effects are taken from this site only.")


def _authority(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:  # such as http://[
        return ""
