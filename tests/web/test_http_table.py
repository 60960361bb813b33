"""Every way to ask wrongly: the status, a document that says what to do, and no counter changed at all."""

from typing import NamedTuple

import pytest
from e2e.raw import Headers

from web.faces import JSON, Face, assert_problem

pytestmark = pytest.mark.asyncio(loop_scope="module")

INCREMENT = "/counters/tickets/increment"
TAKE = "/counters/tickets/take"
COUNTER = "/counters/tickets"
KIB = 1024


class Case(NamedTuple):
    what: str
    status: int
    method: str
    target: str
    headers: Headers = ()
    body: bytes = b""


def name(segment: str, status: int = 400) -> Case:
    return Case(f"name {segment[:20]}", status, "POST", f"/counters/{segment}/increment")


def body(what: str, status: int, content: bytes, method: str = "POST", target: str = INCREMENT) -> Case:
    return Case(what, status, method, target, JSON, content)


def headers(what: str, status: int, *pairs: tuple[str, str], method: str = "POST", target: str = INCREMENT) -> Case:
    return Case(what, status, method, target, pairs)


def if_match(tag: str, status: int) -> Case:
    return Case(f"If-Match {tag}", status, "PUT", COUNTER, (*JSON, ("If-Match", tag)), b'{"value": 100}')


def key(value: str) -> Case:
    return headers(f"key {value[:20]!a}", 400, ("Idempotency-Key", value))


def no_method(method: str, target: str) -> Case:
    return Case(f"{method} {target}", 405, method, target)


def not_found(method: str, target: str) -> Case:
    return Case(f"{method} {target}", 404, method, target)


NAMES = [
    *map(
        name, ["%ff", "%FE", "%00", "a%00b", "%2F", "a%2Fb", "%2e%2e", ".tickets", "-tickets", "_tickets", "~tickets"]
    ),
    *map(name, ["a" * 65, "%C3%BC", "a%20b", "a+b", "a%0ab", "%0a", "a%0d%0aX-Evil:1", "a:b", "{a}", "a*", "a,b"]),
    *map(name, ["a%0a", "tickets%", "tickets%2", "tickets%zz", "a;b", "a%25", "%EF%BC%91", "%D9%A3"]),
    name("", 400),
    Case("GET name", 400, "GET", "/counters/%ff"),
    Case("HEAD name", 400, "HEAD", "/counters/%ff"),
    Case("PUT name", 400, "PUT", "/counters/.x", JSON, b'{"value": 1}'),
    Case("DELETE name", 400, "DELETE", "/counters/%00"),
    Case("take name", 400, "POST", "/counters/%00/take", JSON, b'{"by": 1, "limit": 9}'),
]

BODIES = [
    *(
        body(f"malformed {text!a}", 400, text)
        for text in [b"{", b'{"by": }', b'{"by": 1} x', b"by=1", b"{'by': 1}", b" "]
    ),
    *(
        body(f"no number {text!a}", 400, b'{"by": %b}' % text)
        for text in [b"NaN", b"Infinity", b"-Infinity", b"01", b"+1"]
    ),
    *(body(f"no number {text!a}", 400, b'{"by": %b}' % text) for text in [b"1.", b".5", b"0x10", b"1_0", b"1e"]),
    body("invalid UTF-8", 400, b'{"by": "\xff"}'),
    body("overlong UTF-8", 400, b'{"by": "\xc0\x80"}'),
    body("UTF-16", 400, '{"by": 1}'.encode("utf-16")),
    body("byte order mark", 400, b'\xef\xbb\xbf{"by": 1}'),
    body("duplicate field", 400, b'{"by": 1, "by": 1}'),
    body("duplicate field, escaped", 400, b'{"by": 1, "\\u0062y": 2}'),
    body("duplicate field, within", 400, b'{"by": {"a": 1, "a": 1}}'),
    body("nested deeply", 400, b"[" * 60_000),
    body("nested deeply, closed", 400, b'{"by": ' + b"[" * 30_000 + b"]" * 30_000 + b"}"),
    body("objects nested deeply", 400, b'{"a":' * 12_000),
    body("control character", 400, b'{"by\n": 1}'),
    *(
        body(f"by is {text[:20].decode()}", 422, b'{"by": %b}' % text)
        for text in [
            b"0",
            b"-0",
            b"2147483649",
            b"-2147483649",
            b"9" * 5000,
            b"-" + b"9" * 5000,
            b"1e400",
            b"1e2",
            b"1.0",
            b"0.5",
            b'"1"',
            b"true",
            b"false",
            b"null",
            b"[1]",
            b"{}",
            b'"\\ud800"',
            b"1." + b"0" * 5000,
            b"1e-9",
        ]
    ),
    *(
        body(f"body is {text.decode()}", 422, text)
        for text in [b"[]", b"[1]", b"1", b'"by"', b"null", b"true", b'[["by", 1]]']
    ),
    body("unknown field", 422, b'{"by": 1, "name": "x"}'),
    body("unknown field alone", 422, b'{"By": 1}'),
    body("unknown field, a lone surrogate", 422, b'{"\\ud800": 1}'),
    body("field of another verb", 422, b'{"by": 1, "limit": 10}'),
    body("value is not for increment", 422, b'{"value": 1}'),
    body("key is no field", 422, b'{"by": 1, "key": "k"}'),
    body("take without a bound", 422, b'{"by": 1}', target=TAKE),
    body("take of nothing", 422, b"", target=TAKE),
    body("take with both bounds", 422, b'{"by": 1, "limit": 10, "floor": 0}', target=TAKE),
    body("take down with a limit", 422, b'{"by": -1, "limit": 10}', target=TAKE),
    body("take up with a floor", 422, b'{"by": 1, "floor": 0}', target=TAKE),
    body("take with limit null", 422, b'{"by": 1, "limit": null}', target=TAKE),
    body("take with limit true", 422, b'{"by": 1, "limit": true}', target=TAKE),
    body("take with a limit too large", 422, b'{"by": 1, "limit": 9007199254740992}', target=TAKE),
    body("set without value", 422, b"{}", "PUT", COUNTER),
    body("set with an empty body", 422, b"", "PUT", COUNTER),
    body("set to null", 422, b'{"value": null}', "PUT", COUNTER),
    body("set to 1.0", 422, b'{"value": 1.0}', "PUT", COUNTER),
    body("set to true", 422, b'{"value": true}', "PUT", COUNTER),
    body("set beyond the cap", 422, b'{"value": 9007199254740992}', "PUT", COUNTER),
    body("set below the cap", 422, b'{"value": -9007199254740992}', "PUT", COUNTER),
    body("set with by", 422, b'{"value": 1, "by": 1}', "PUT", COUNTER),
    body("delete with a field", 422, b'{"value": 1}', "DELETE", COUNTER),
    body("larger than 64 KiB", 413, b" " * (64 * KIB + 1)),
    body("much larger", 413, b"[" * 100_000),
    Case(
        "larger than 64 KiB, chunked", 413, "POST", INCREMENT, (*JSON, ("Transfer-Encoding", "chunked")), b" " * 70_000
    ),
    *(
        Case(f"{method} larger than 64 KiB", 413, method, COUNTER, JSON, b" " * 70_000)
        for method in ["PUT", "DELETE", "GET"]
    ),
]

MEDIA = [
    Case("no content type", 415, "POST", INCREMENT, (), b'{"by": 1}'),
    *(
        Case(f"content type {media}", 415, "POST", INCREMENT, (("Content-Type", media),), b'{"by": 1}')
        for media in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/jsonx",
            "application/json-seq",
            "",
            "application/json; charset=latin-1",
            "application/problem+json",
            "multipart/form-data; boundary=x",
            "json",
        ]
    ),
    Case("two content types", 400, "POST", INCREMENT, (*JSON, *JSON), b'{"by": 1}'),
]

AGED = "019a0000-0000-7000-8000-000000000000"  # of October 2025: older than any key's life
AHEAD = "ffffffff-0000-7000-bfff-ffffffffffff"
AGES = [
    *(
        headers(f"key {key[:50]}", 422, ("Idempotency-Key", key))
        for key in [AGED, AGED.upper(), f'"{AGED}"', f"{AGED}.7", f"{AGED}.", f"{AGED}.a.b-c", AHEAD, f"{AHEAD}.0"]
    ),
    Case("old key, take", 422, "POST", TAKE, (*JSON, ("Idempotency-Key", AGED)), b'{"by": 1, "limit": 100}'),
    Case("old key, PUT", 422, "PUT", COUNTER, (*JSON, ("Idempotency-Key", AGED)), b'{"value": 1}'),
    Case("old key, DELETE", 422, "DELETE", COUNTER, (("Idempotency-Key", AGED),)),
    *(
        headers(f"key {key} to {target}", 422, ("Idempotency-Key", key), target=target)
        for key in ["k", AGED]
        for target in ["/session/increment", "/session/reset", "/"]
    ),
    headers("malformed key to the session", 400, ("Idempotency-Key", "a b"), target="/session/increment"),
]

HEADERS = [
    *map(
        key, ["", '""', '"', '"open', '"a" b"', '"a"b"', "a" * 256, f'"{"a" * 256}"', "a b", '"a b"', "a\tb", "k\xe9y"]
    ),
    *map(key, ["\xe9", "k\xa0", "k\x85", '"k\xa0"', '"a\\b"', '"a\\"', '"k";a=1', '"\\']),
    headers("two keys", 400, ("Idempotency-Key", "a"), ("Idempotency-Key", "a")),
    headers("two keys, two cases", 400, ("Idempotency-Key", "a"), ("idempotency-key", "b")),
    *(if_match(tag, 400) for tag in ["7", '"7', '7"', '"', "", 'w/"7"', "W/7", "'7'", '"7" "8"', '"7"x', '"a b"']),
    *(
        if_match(tag, 412)
        for tag in ['"6"', '"8"', '"0"', '"007"', '"-7"', '"+7"', '"7.0"', '""', '"x"', 'W/"7"', '"7,8"']
    ),
    *(if_match(tag, 412) for tag in ['"99999999999999999999"', f'"{"9" * 5000}"', '"\xb2"', '"\xff"']),
    if_match('"1", "2"', 400),
    Case("two If-Match", 400, "PUT", COUNTER, (*JSON, ("If-Match", '"7"'), ("If-Match", '"7"')), b'{"value": 1}'),
    *(
        headers(f"origin {origin}", 403, ("Origin", origin))
        for origin in [
            "https://evil.example",
            "null",
            "http://localhost.evil.example",
            "http://[",
            "localhost",
            "",
            "//",
            "http://evil@localhost:1",
            "http://localhost:8001",
        ]
    ),
    headers("cross-site", 403, ("Sec-Fetch-Site", "cross-site")),
    headers("cross-site, own origin", 403, ("Sec-Fetch-Site", "cross-site"), ("Origin", "http://localhost")),
    headers("foreign DELETE", 403, ("Origin", "https://evil.example"), method="DELETE", target=COUNTER),
    Case("foreign PUT", 403, "PUT", COUNTER, (*JSON, ("Origin", "https://evil.example")), b'{"value": 1}'),
    Case("foreign take", 403, "POST", TAKE, (*JSON, ("Origin", "null")), b'{"by": 1, "limit": 100}'),
    headers("foreign form", 403, ("Origin", "https://evil.example"), target="/"),
    headers("two origins", 400, ("Origin", "http://localhost"), ("Origin", "http://localhost")),
]

PATHS = [
    *(
        not_found("GET", path)
        for path in ["/nothing", "/counters/", "/counters/a/b", "/counters/a/b/c", "//counters/tickets"]
    ),
    *(not_found("GET", path) for path in ["/Counters/tickets", "/counters%2Ftickets", "/counters/tickets/"]),
    *(
        not_found("POST", path)
        for path in [
            "/counters/tickets/decrement",
            "/counters/tickets/increment/",
            "/counters/tickets/%69ncrement",
            "/counters/tickets/increment%00",
            "/counters/tickets//increment",
        ]
    ),
    *(no_method(method, INCREMENT) for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH", "TRACE", "BREW"]),
    *(no_method(method, TAKE) for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH"]),
    *(no_method(method, COUNTER) for method in ["POST", "PATCH", "TRACE", "BREW"]),
    *(no_method(method, "/counters") for method in ["POST", "PUT", "DELETE", "PATCH"]),
    *(no_method(method, path) for method in ["POST", "PUT", "DELETE"] for path in ["/healthz", "/readyz"]),
    *(no_method(method, "/") for method in ["PUT", "DELETE", "PATCH"]),
    *(
        Case(f"list {query}", 422, "GET", f"/counters?{query}")
        for query in [
            "limit=0",
            "limit=1001",
            "limit=-1",
            "limit=x",
            "limit=1.0",
            "limit=",
            "limit=%D9%A3",
            "after=%ff",
            "after=.x",
            "nope=1",
            "limit=1&limit=1",
            f"limit={'9' * 5000}",
            "limit=+5",
            "limit=1;after=a",
            "after=a/b",
        ]
    ),
    Case("form without action", 422, "POST", "/"),
    Case("headers of 17 KiB", 431, "POST", INCREMENT, (("X-Long", "x" * 17 * KIB),)),
    Case("headers of 17 KiB in pieces", 431, "POST", INCREMENT, [(f"X-{i}", "x" * 170) for i in range(100)]),
]

WRONG = [*NAMES, *BODIES, *MEDIA, *HEADERS, *AGES, *PATHS]

HARMLESS = [
    *(
        Case(f"{method} {target}", 200, method, target)
        for method in ["GET", "HEAD"]
        for target in [
            COUNTER,
            "/counters/never-touched",
            "/counters",
            "/counters?after=tickets&limit=1",
            "/",
            "/readyz",
        ]
    ),
    *(Case(f"OPTIONS {target}", 204, "OPTIONS", target) for target in [COUNTER, INCREMENT, TAKE, "/counters"]),
    *(Case(f"OPTIONS {target}", 200, "OPTIONS", target) for target in ["/", "/healthz", "/readyz"]),
    Case("GET with a body", 200, "GET", COUNTER, JSON, b'{"value": 1}'),
    Case("GET with a key", 200, "GET", COUNTER, (("Idempotency-Key", "k"),)),
    Case("GET from elsewhere", 200, "GET", COUNTER, (("Origin", "https://evil.example"),)),
]


def ids(case: Case) -> str:
    return case.what.replace("\x00", "NUL")


@pytest.mark.parametrize("case", WRONG, ids=ids)
async def test_wrong_request_says_what_to_do_and_changes_nothing(face: Face, case: Case) -> None:
    before = await everything(face)
    reply = await face(case.method, case.target, case.headers, case.body)
    assert reply.status == case.status, reply
    assert_problem(reply, case.method)
    assert await everything(face) == before
    if case.status == 405:
        assert case.method not in (reply.header("allow") or "").split(", ")
        assert "OPTIONS" in (reply.header("allow") or "").split(", ")


@pytest.mark.parametrize("case", HARMLESS, ids=ids)
async def test_reading_changes_nothing(face: Face, case: Case) -> None:
    before = await everything(face)
    reply = await face(case.method, case.target, case.headers, case.body)
    assert reply.status == case.status, reply
    assert reply.header("cache-control") == "no-store"
    assert await everything(face) == before


async def everything(face: Face) -> list[dict[str, object]]:
    """Every counter's name, value and version."""
    rows: list[dict[str, object]] = (await face("GET", "/counters?limit=1000")).json["counters"]
    return rows
