"""Malformed requests, drawn by a seed: good ones with something broken, and nasty ones written by hand."""

import random
from collections.abc import Callable, Iterator

from e2e.raw import chunked, request

INCREMENT = "/counters/tickets/increment"
JSON = ("Content-Type", "application/json")
FORM = ("Content-Type", "application/x-www-form-urlencoded")

GOOD = (
    request("POST", INCREMENT),
    request("POST", INCREMENT, [JSON], b'{"by": 3}'),
    request("POST", INCREMENT, [JSON, ("Transfer-Encoding", "chunked")], chunked(b'{"by": 2}', size=3)),
    request("POST", INCREMENT, [JSON, ("Idempotency-Key", "k-1")], b'{"by": 1}'),
    request("POST", "/counters/stock/take", [JSON], b'{"limit": 9}'),
    request("PUT", "/counters/tickets", [JSON, ("If-Match", '"3"')], b'{"value": 9}'),
    request("DELETE", "/counters/tickets"),
    request("GET", "/counters?after=a&limit=3"),
    request("GET", "/counters/tickets"),
    request("GET", "/"),
    request("POST", "/", [FORM], b"action=increment"),
    request("POST", "/session/increment", [("Cookie", "session=e30.x.y")]),
    request("GET", "/session"),
    request("GET", "/metrics"),
    request("GET", "/readyz"),
    request("GET", "/openapi.json"),
    request("OPTIONS", "*"),
)

NASTY = (
    b"",
    b"\0",
    b"\r\n" * 200,
    b"GET\r\n\r\n",
    b"GET /\r\n\r\n",
    b" GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\nHost: localhost\n\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n folded\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    b"GET / HTTP/1.1\r\n: a\r\nHost: localhost\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET http:// HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET http://[::1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET //evil/../counters HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /%00%0d%0aX:%20y HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /counters?limit=%ff%fe&after=%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /counters?limit=" + b"9" * 5000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: " + b"[" * 500 + b"\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0" * 50,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x7f" * 500,  # TLS to a port without it
    b"*1\r\n$4\r\nPING\r\n",  # Redis
    request("POST", INCREMENT, [JSON], b"[" * 60_000),
    request("POST", INCREMENT, [JSON], b'{"by": ' * 9000),
    request("POST", INCREMENT, [JSON], b'{"by": 1e999}'),
    request("POST", INCREMENT, [JSON], b'{"by": NaN}'),
    request("POST", INCREMENT, [JSON], b'{"by": ' + b"9" * 50_000 + b"}"),
    request("POST", INCREMENT, [JSON], b'{"by": "\xed\xa0\x80"}'),
    request("POST", INCREMENT, [JSON], b'{"by": 1, "by": 2}'),
    request("POST", INCREMENT, [("Content-Type", "application/json; charset=utf-7")], b"+AHs-"),
    request("POST", INCREMENT, [("Content-Encoding", "gzip"), JSON], b"\x1f\x8b"),
    request("POST", INCREMENT, [("Content-Length", "99999999999999999999")]),
    request("POST", INCREMENT, [("Content-Length", "1" * 4000)]),
    request("POST", INCREMENT, [("Content-Length", "\xb2")]),
    request("POST", INCREMENT, [("Transfer-Encoding", "chunked")], b"fffffffffffffffff\r\n"),
    request("POST", INCREMENT, [("Transfer-Encoding", "chunked")], b"-1\r\n\r\n"),
    request("POST", INCREMENT, [("Transfer-Encoding", "chunked")], b"1;" + b"x" * 9000 + b"\r\na\r\n0\r\n\r\n"),
    request("POST", INCREMENT, [("Transfer-Encoding", "chunked")], b"0\r\n" + b"X: y\r\n" * 900 + b"\r\n"),
    request("POST", INCREMENT, [("Idempotency-Key", "")]),
    request("POST", INCREMENT, [("Idempotency-Key", "\xff\xfe")]),
    request("PUT", "/counters/tickets", [JSON, ("If-Match", '"' + "9" * 5000 + '"')], b'{"value": 1}'),
    request("POST", "/", [FORM], b"&".join([b"a=b"] * 9000)),
    request("POST", "/", [("Content-Type", "multipart/form-data; boundary=" + "x" * 900)], b"--x\r\n" * 900),
    request("POST", "/", [("Content-Type", "multipart/form-data")], b"--\r\n\r\n"),
    request("POST", "/session/increment", [("Cookie", "session=" + "." * 4000)]),
    request("POST", "/session/increment", [("Cookie", "\xff=\xfe; session")]),
    request("GET", "/events", [("Last-Event-ID", "9" * 4000), ("Connection", "close")], version="1.0"),
    request("GET", "/", [("Authorization", "Basic " + "=" * 900)]),
    request("GET", "/", [("Authorization", "Bearer \xff\0"[:9])]),
    request("GET", "/", [("Range", "bytes=0-,5-1,-" + "9" * 900)]),
    request("GET", "/static/..%2f..%2fetc%2fpasswd"),
    request("GET", "/static/%2e%2e/app.py"),
    request("GET", "/", [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Key", "x")]),
    request("POST", "/", [("Upgrade", "h2c"), ("Connection", "Upgrade"), ("HTTP2-Settings", "!!")]),
    request("GET", "/", [("Expect", "200-maybe")]),
    request("GET", "/", [("X-Forwarded-For", "," * 9000)]),
    request("GET", "/", [("Accept", "*/*;q=" + "9" * 900)]),
    request("GET", "/", [("Accept-Language", ",;=" * 3000)]),
)

Mutation = Callable[[random.Random, bytes], bytes]
SPECIAL = b"\0\r\n \t:;,/%?#\"'{}[]\\\x7f\x80\xff0-"
SWAPS = (
    (b"HTTP/1.1", b"HTTP/1.0"),
    (b"HTTP/1.1", b"http/1.1"),
    (b"HTTP/1.1", b"HTTP/2.0"),
    (b"Content-Length", b"Content-Length "),
    (b"Content-Length: ", b"Content-Length: +"),
    (b"Content-Length: ", b"Content-Length: 0"),
    (b"Content-Length: ", b"Content-Length: 7\r\nContent-Length: "),
    (b"chunked", b"chunked, chunked"),
    (b"chunked", b"xchunked"),
    (b"chunked", b"\x0bchunked"),
    (b"Host: localhost", b""),
    (b"Host: localhost", b"Host: localhost\r\nHost: b"),
    (b"application/json", b"text/plain"),
    (b"\r\n", b"\n"),
    (b": ", b":"),
    (b"tickets", b"%74ickets"),
    (b"tickets", b"%ff"),
    (b"tickets", b"a%2fb"),
    (b"POST", b"post"),
    (b"POST", b"P\xd6ST"),
    (b"by", b"b\\u0079"),
    (b"3", b"9223372036854775808"),
    (b"1", b"true"),
)


def _at(draw: random.Random, data: bytes) -> int:
    return draw.randrange(len(data) + 1)


def _cut(draw: random.Random, data: bytes) -> bytes:
    return data[: _at(draw, data)]


def _drop(draw: random.Random, data: bytes) -> bytes:
    at = _at(draw, data)
    return data[:at] + data[at + draw.randint(1, 8) :]


def _insert(draw: random.Random, data: bytes) -> bytes:
    at = _at(draw, data)
    return data[:at] + bytes(draw.choices(SPECIAL, k=draw.randint(1, 4))) + data[at:]


def _flip(draw: random.Random, data: bytes) -> bytes:
    at = _at(draw, data[:-1])
    return data[:at] + bytes([draw.randrange(256)]) + data[at + 1 :]


def _repeat(draw: random.Random, data: bytes) -> bytes:
    start, end = sorted((_at(draw, data), _at(draw, data)))
    return data[:end] + data[start:end] * draw.choice((1, 2, 50)) + data[end:]


def _swap(draw: random.Random, data: bytes) -> bytes:
    return data.replace(*draw.choice([swap for swap in SWAPS if swap[0] in data] or SWAPS), draw.choice((1, -1)))


def _add_header(draw: random.Random, data: bytes) -> bytes:
    line, found, rest = data.partition(b"\r\n")
    return line + found + draw.choice(HEADERS) + rest


HEADERS = (
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: 400\r\n",
    b"Connection: close\r\n",
    b"Connection: Host, Content-Length\r\n",
    b"Expect: 100-continue\r\n",
    b"Content-Type: \xff\r\n",
    b"X: " + b"y" * 20_000 + b"\r\n",
    b"X: y\r\n" * 2000,
    b"Origin: http://\r\n",
    b"Origin: http://[\r\n",
    b"Cookie: " + b"a=b; " * 900 + b"\r\n",
)


def _join(draw: random.Random, data: bytes) -> bytes:
    return data + draw.choice(GOOD)


MUTATIONS: tuple[Mutation, ...] = (_cut, _drop, _insert, _flip, _repeat, _swap, _swap, _add_header, _join)


def malformed(seed: int, n: int) -> Iterator[bytes]:
    """The first `n` requests of this seed: all the nasty ones, then broken good ones (some of them are still good)."""
    draw = random.Random(seed)
    for i in range(n):
        if i < len(NASTY):
            yield NASTY[i]
            continue
        data = draw.choice(GOOD + NASTY) if draw.random() < 0.2 else draw.choice(GOOD)
        for _ in range(draw.choice((1, 1, 2, 3))):
            data = draw.choice(MUTATIONS)(draw, data)
        yield data[:200_000]
