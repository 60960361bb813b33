"""An exhibit for the session: a whole session is read when a request begins, and written back whole when it ends.

That is how server-side sessions are usually kept (Flask-Session and its kin). Of two requests of one client that are
under way together, the one that ends last erases what the other wrote.
"""

from __future__ import annotations

import secrets
from typing import Any, Final

from quart import Quart
from quart.sessions import SessionInterface, SessionMixin
from quart.wrappers import BaseRequestWebsocket, Response

from quart_counter.lab import steps
from quart_counter.lab.exhibits.gate import Gate

COOKIE: Final = "session"


class Blob(dict[str, Any], SessionMixin):
    """A client's session: a copy of what was stored, under the id that the client carries."""

    def __init__(self, sid: str, stored: dict[str, Any]) -> None:
        super().__init__(stored)
        self.sid, self.before = sid, dict(stored)


class BlobSessions(SessionInterface):
    """Keeps whole sessions in this worker's memory, by an id that nobody guesses."""

    def __init__(self) -> None:
        self._stored: dict[str, dict[str, Any]] = {}
        self._gate = Gate()

    async def open_session(self, app: Quart, request: BaseRequestWebsocket) -> Blob:
        """Read the client's whole session, or begin a new one."""
        sid = request.cookies.get(COOKIE, "")
        if sid not in self._stored:
            sid = secrets.token_hex(16)
        blob = Blob(sid, self._stored.get(sid, {}))
        steps.note("reads the session with", blob.get("value", 0))
        return blob

    async def save_session(self, app: Quart, session: SessionMixin, response: Any) -> None:
        """Write the whole session back if the request changed it."""
        assert isinstance(session, Blob)
        if session == session.before:
            return
        await self._gate.wait()
        self._stored[session.sid] = dict(session)
        steps.note("writes the session with", session.get("value", 0))
        if isinstance(response, Response):
            response.set_cookie(COOKIE, session.sid, httponly=True, samesite="Lax")
