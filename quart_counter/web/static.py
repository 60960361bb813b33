"""The files of the pages, looked up among those that the package came with: no request names a file to open.

Of what a request asks for beyond the name only If-None-Match counts. Ranges and dates may be passed over (RFC 9110,
14.2 and 13.1.3), so nothing a stranger writes into them is read.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from quart import Blueprint, Response, request

from quart_counter.web.answers import Answer
from quart_counter.web.api import problem_not_found, to_response

TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def add_to(routes: Blueprint, folder: Path) -> None:
    """Serve the files of `folder` below /static, for `url_for(".static", filename=…)`. They are read now, once."""
    files = {path.name: _answer(path) for path in folder.iterdir()}

    @routes.get("/static/<filename>")
    async def static(filename: str) -> Response:
        answer = files.get(filename)
        if answer is None:
            return to_response(problem_not_found())
        if _is_known(dict(answer.headers)["etag"], request.headers.get("If-None-Match", "")):
            answer = answer._replace(status=304, body=b"")
        return to_response(answer)


def _answer(path: Path) -> Answer:
    body = path.read_bytes()
    etag = hashlib.blake2b(body, digest_size=8).hexdigest()
    headers = (
        ("content-type", TYPES[path.suffix]),
        ("cache-control", "no-cache"),  # kept, and asked for again: a new version of the package is seen at once
        ("etag", f'"{etag}"'),
        ("x-content-type-options", "nosniff"),
    )
    return Answer(200, headers, body)


def _is_known(etag: str, if_none_match: str) -> bool:
    """Whether the client has it (RFC 9110, 13.1.2); ours has no comma in it."""
    tags = (tag.strip().removeprefix("W/") for tag in if_none_match.split(","))
    return any(tag in (etag, "*") for tag in tags)
