"""The limit of a server: an ASGI app that only counts."""

from typing import Any

value = 0


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    global value
    if scope["type"] == "lifespan":
        for _ in ("startup", "shutdown"):
            await send({"type": (await receive())["type"] + ".complete"})
        return
    value += scope["method"] == "POST"
    body = b'{"value":%d}' % value
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
