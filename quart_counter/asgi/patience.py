"""How long a connection waits for its client, under every server."""

from __future__ import annotations

from typing import Final

HEAD_S: Final = 8.0  # from connecting, or from the first byte after an answer, to the end of the request's head
UNREAD_S: Final = 10.0  # for a client to make room for more of its answers
