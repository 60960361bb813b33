"""One question to a Redis, in its own protocol: enough to form a cluster with the standard library."""

import ssl
from typing import IO, TypeAlias

from quart_counter.local.process import ServerFailed, connected

Reply: TypeAlias = "str | int | list[Reply] | None"
TIMEOUT_S = 5.0


def ask(port: int, *words: object, tls: ssl.SSLContext | None = None) -> Reply:
    """Send one command to the server on `port` and return its reply. Raises ServerFailed for an error, OSError."""
    parts = [str(word).encode() for word in words]
    request = b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
    with connected(port, TIMEOUT_S, tls) as connection:
        connection.sendall(request)
        with connection.makefile("rb") as answer:
            return _read(answer)


def fields(port: int, *words: object, tls: ssl.SSLContext | None = None) -> dict[str, str]:
    """Ask for a text of `name:value` lines, such as INFO, and return it by name."""
    lines = str(ask(port, *words, tls=tls)).splitlines()
    return {name: value for name, separator, value in (line.partition(":") for line in lines) if separator}


def _read(answer: IO[bytes]) -> Reply:
    line = answer.readline().rstrip(b"\r\n").decode()
    kind, rest = line[:1], line[1:]
    match kind:
        case "+":
            return rest
        case ":":
            return int(rest)
        case "$":
            return None if rest == "-1" else answer.read(int(rest) + 2)[:-2].decode()
        case "*":
            return None if rest == "-1" else [_read(answer) for _ in range(int(rest))]
    raise ServerFailed(f"Redis refused: {rest}" if kind == "-" else "Redis closed the connection")
