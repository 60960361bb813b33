"""What our middleware finds in an ASGI scope, and leaves there: the path as it came, and whose request it is."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

CREDENTIAL: Final = "quart_counter.credential"  # the key in the scope; see `access`


def raw_path(scope: Any) -> bytes:
    """Return the path as it came, without a proxy's prefix or the host of the absolute form (RFC 9112, 3.2.2)."""
    path: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    if not path.startswith(b"/"):
        path = b"/" + path.partition(b"://")[2].partition(b"/")[2]
    return path.removeprefix(scope.get("root_path", "").encode())


def sees_detail(scope: Any) -> bool:
    """Whether to tell this client about the inside of the service: admins, and everybody where there are no tokens."""
    if CREDENTIAL not in scope:
        return True
    credential = scope[CREDENTIAL]
    return credential is not None and credential.has("admin")
