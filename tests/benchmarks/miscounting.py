"""A peer with a bug: every tenth increment is answered and forgotten."""

from benchmarks.peers import bare


async def app(scope, receive, send):
    if scope["type"] == "http" and bare.value % 10 == 9:
        bare.value -= 1
    await bare.app(scope, receive, send)
