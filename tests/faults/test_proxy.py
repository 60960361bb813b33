"""The proxy does what it says: a fault tool that does not break things proves nothing."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from faults.proxy import FaultProxy


class Echo:
    """A server that answers each line with itself, and remembers what it heard."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.ended = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                self.heard.append(line)
                writer.write(line)
        except ConnectionError:
            pass
        self.ended.set()
        writer.close()


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    echo.port = server.sockets[0].getsockname()[1]
    yield echo
    server.close()
    await server.wait_closed()


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[FaultProxy]:
    async with FaultProxy("127.0.0.1", echo.port) as proxy:
        yield proxy


async def ask(proxy: FaultProxy, line: bytes = b"hello\n") -> bytes:
    """One request; what came back before the end, or before the line was whole."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        writer.write(line)
        return await reader.readline()
    finally:
        writer.close()


async def test_without_a_fault_it_is_not_there(proxy, echo):
    assert await ask(proxy) == b"hello\n"
    assert (proxy.accepted, proxy.fired) == (1, {})


async def test_drop_forwards_the_request_and_swallows_the_reply(proxy, echo):
    proxy.next_reply = "drop"
    assert await ask(proxy) == b""
    assert echo.heard == [b"hello\n"]
    assert proxy.fired == {"drop": 1}


async def test_drop_request_is_not_heard_by_the_server(proxy, echo):
    proxy.next_reply = "drop_request"
    assert await ask(proxy) == b""
    assert echo.heard == []


async def test_reset_in_the_middle_of_the_reply(proxy, echo):
    proxy.next_reply = "reset"
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"hello\n")
    with pytest.raises(ConnectionResetError):
        await reader.readline()
    assert echo.heard == [b"hello\n"]
    writer.close()


async def test_stall_holds_the_reply_until_the_proxy_closes(proxy, echo):
    proxy.next_reply = "stall"
    asking = asyncio.ensure_future(ask(proxy))
    await proxy.happened["stall"].wait()
    assert echo.heard == [b"hello\n"]
    assert not asking.done()
    await proxy.cut()
    assert await asking == b""


async def test_dribble_delivers_all_of_it(proxy):
    proxy.next_reply = "dribble"
    assert await ask(proxy) == b"hello\n"
    assert proxy.fired == {"dribble": 1}


async def test_half_close_ends_the_request_side_and_still_delivers(proxy, echo):
    proxy.next_reply = "half_close"
    assert await ask(proxy) == b"hello\n"
    await echo.ended.wait()
    assert proxy.fired == {"half_close": 1}


async def test_the_script_is_followed_one_exchange_each_then_always(proxy):
    proxy.script.extend(["pass", "drop"])
    assert [await ask(proxy) for _ in range(3)] == [b"hello\n", b"", b"hello\n"]
    proxy.always = "drop"
    assert [await ask(proxy) for _ in range(2)] == [b"", b""]


async def test_exchanges_of_one_connection_each_meet_their_own_fault(proxy):
    proxy.script.extend(["pass", "dribble", "drop"])
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    heard = []
    for _ in range(3):
        writer.write(b"hello\n")
        heard.append(await reader.readline())
    assert heard == [b"hello\n", b"hello\n", b""]
    writer.close()


async def test_the_same_seed_draws_the_same_faults(echo):
    async def faults(seed: int) -> list[bytes]:
        async with FaultProxy("127.0.0.1", echo.port, seed=seed, mix={"pass": 1, "drop": 1}) as proxy:
            return [await ask(proxy) for _ in range(20)]

    assert await faults(1) == await faults(1)
    assert await faults(1) != await faults(2)
    assert set(await faults(1)) == {b"hello\n", b""}


async def test_injected_bytes_reach_the_client(proxy):
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"hello\n")
    await reader.readline()
    await proxy.inject(b"nobody asked\n")
    assert await reader.readline() == b"nobody asked\n"
    writer.close()


async def test_a_closed_proxy_refuses(proxy):
    await proxy.aclose()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", proxy.port)


def test_a_misspelt_fault_is_named():
    with pytest.raises(AssertionError, match="'dorp' is no fault"):
        FaultProxy("127.0.0.1", 1).next_reply = "dorp"
