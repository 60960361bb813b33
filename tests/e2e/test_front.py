"""What HTTP servers let through and an application should never see, sent by hand to a real Hypercorn and Uvicorn."""

import asyncio
import logging
from collections.abc import AsyncIterator

import h2.config
import h2.connection
import pytest
import redis.asyncio as aioredis
from servers import a_server_of_our_own

from e2e.raw import Connection, Headers, Reply, ask, chunked, connect, hypercorn, request, served_by
from quart_counter import create_app

KIB = 1024
INCREMENT = "/counters/tickets/increment"
JSON = ("Content-Type", "application/json")
FORM = [("Content-Type", "application/x-www-form-urlencoded")]


@pytest.fixture(params=["hypercorn", "uvicorn"])
async def url(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    async with served_by(request.param, create_app()) as url:
        yield url


async def count(url: str) -> int:
    """How many changes the counter has seen."""
    version: int = (await ask(url, "GET", "/counters/tickets")).json["version"]
    return version


def assert_refused(reply: Reply, status: int) -> None:
    assert reply.status == status, reply
    assert reply.header("content-type") == "application/problem+json"
    assert reply.header("cache-control") == "no-store"
    assert reply.json["status"] == status


SMUGGLED = request("POST", INCREMENT)


@pytest.mark.parametrize(
    "framing",
    [
        [("Content-Length", "5"), ("Transfer-Encoding", "chunked")],
        [("Transfer-Encoding", "chunked"), ("Content-Length", str(5 + len(SMUGGLED)))],
        [("transfer-encoding", "Chunked"), ("content-length", "0")],
    ],
)
async def test_two_lengths_are_one_too_many(url: str, framing: list[tuple[str, str]]) -> None:
    """A proxy believes one of them, we the other, and the rest of the body becomes somebody's request."""
    async with connect(url) as connection:
        await connection.send(request("POST", INCREMENT, framing, b"0\r\n\r\n") + SMUGGLED)
        reply = await connection.reply()
        assert (reply.status, reply.says_close) == (400, True)
        assert await connection.rest() == b""
    assert await count(url) == 0


@pytest.mark.parametrize(
    "refused", [[("Content-Length", "9")], [("Host", "evil.example")], [("Origin", "http://evil.example")]]
)
async def test_an_answer_that_leaves_many_pieces_unread_has_an_end(url: str, refused: list[tuple[str, str]]) -> None:
    """All of them in one packet, more than the queue in front of the app holds."""
    pieces = [("Transfer-Encoding", "chunked"), ("Content-Type", "application/json")]
    async with connect(url) as connection, asyncio.timeout(5):
        await connection.send(request("POST", INCREMENT, [*refused, *pieces], chunked(b"x" * 200, 1)))
        assert (await connection.reply()).status in (400, 403, 421)
        await connection.send(request("GET", "/healthz", [("Connection", "close")]))
        await connection.rest()
    assert await count(url) == 0


@pytest.mark.parametrize(
    "framing",
    [
        [("Content-Length", "5"), ("Content-Length", "6")],
        [("Content-Length", "-1")],
        [("Content-Length", "+5")],
        [("Content-Length", "0x5")],
        [("Transfer-Encoding", "gzip, chunked")],
        [("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")],
        [("Transfer-Encoding", "identity")],
        [("Transfer-Encoding ", "chunked")],
        [("Host", "a"), ("Host", "b")],
        [("X-Nul", "a\0b")],
        [("X Space", "a")],
    ],
)
async def test_broken_heads_end_the_connection(url: str, framing: list[tuple[str, str]]) -> None:
    """Most of these are refused before there is a request to answer with a document."""
    async with connect(url) as connection:
        await connection.send(request("POST", INCREMENT, framing, b"0\r\n\r\n") + SMUGGLED)
        reply = await connection.reply()
        assert reply.status in (400, 501)
        assert reply.says_close
        assert await connection.rest() == b""
    assert await count(url) == 0


@pytest.mark.parametrize("target", ["/counters/\xfc/increment", "/counters/a b/increment", "/counters/a\x01/increment"])
async def test_a_target_must_be_ascii(url: str, target: str) -> None:
    reply = await ask(url, "POST", target)
    assert (reply.status, reply.says_close) == (400, True)
    assert (await ask(url, "GET", "/counters")).json["counters"] == []


H2_HEADERS = [(":method", "POST"), (":path", INCREMENT), (":authority", "localhost"), (":scheme", "http")]


async def test_http2_by_prior_knowledge_is_not_served(url: str, caplog: pytest.LogCaptureFixture) -> None:
    h2c = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
    h2c.initiate_connection()
    h2c.send_headers(1, H2_HEADERS, end_stream=True)
    async with connect(url) as connection:
        await connection.send(h2c.data_to_send())
        reply = await connection.reply()
        assert (reply.status, reply.says_close) == (400, True)
        await connection.rest()
    assert await count(url) == 0
    assert_nothing_went_wrong(caplog)


async def test_http2_by_upgrade_is_passed_over(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """The request is answered in HTTP/1.1 (RFC 9110, 7.8), and the frames that follow are no requests."""
    h2c = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
    settings = h2c.initiate_upgrade_connection() or b""
    upgrade = [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", settings.decode())]
    async with connect(url) as connection:
        assert (await connection.ask("POST", INCREMENT, upgrade)).json["value"] == 1
        h2c.send_headers(3, H2_HEADERS, end_stream=True)
        await connection.send(h2c.data_to_send())
        assert b" 200 " not in await connection.rest()
    assert await count(url) == 1
    assert_nothing_went_wrong(caplog)


LENGTH, CHUNKED = ("Content-Length", "9"), ("Transfer-Encoding", "chunked")
BY_5 = b'{"by": 5}'


@pytest.mark.parametrize(("offered", "cut"), [("h2c", None), ("h2c", 0), ("websocket", 1), ("foo/2, bar", 5)])
@pytest.mark.parametrize(("framing", "body"), [(LENGTH, BY_5), (CHUNKED, chunked(BY_5, size=4))])
async def test_the_body_of_an_offer_counts(
    url: str, offered: str, framing: tuple[str, str], body: bytes, cut: int | None
) -> None:
    """RFC 9110, 7.8: who passes over an offer of another protocol goes on with the request. curl --http2 offers h2c."""
    offer = [JSON, framing, ("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", offered), ("HTTP2-Settings", "")]
    async with connect(url) as connection:
        await connection.send(request("POST", INCREMENT, offer) + (body if cut is None else body[:cut]))
        if cut is not None:
            assert (await ask(url, "GET", "/healthz")).status == 200  # the head is read by now
            await connection.send(body[cut:])
        assert (await connection.reply()).json["value"] == 5
        assert (await connection.ask("PUT", "/counters/tickets", offer[:1], b'{"value": 7}')).json["value"] == 7


async def test_offers_in_a_row(url: str) -> None:
    offer = [JSON, LENGTH, ("Connection", "Upgrade"), ("Upgrade", "h2c")]
    plain = request("POST", INCREMENT)
    async with connect(url) as connection:
        await connection.send((request("POST", INCREMENT, offer, BY_5) + plain) * 3)
        assert [(await connection.reply()).json["value"] for _ in range(6)] == [5, 6, 11, 12, 17, 18]


@pytest.mark.parametrize(
    ("version", "last"),
    [
        ("1.0", []),
        ("1.1", [("Connection", "close")]),
        ("1.1", [("Connection", "Upgrade, close"), ("Upgrade", "h2c")]),
    ],
)
@pytest.mark.parametrize("behind", [b"\r\n", b"X", SMUGGLED, b"\x00" * 5000])
async def test_what_follows_a_last_request_is_passed_over(url: str, last: Headers, version: str, behind: bytes) -> None:
    """RFC 9112, 9.6: a 400 in place of the answer would say of a change that counted that it did not."""
    whole = request("POST", INCREMENT, [JSON, *last], BY_5, version)
    async with connect(url) as connection:
        await connection.send(whole + behind)
        assert (await connection.reply()).json["value"] == 5
        assert await connection.rest() == b""
    assert await count(url) == 1


HANDSHAKES = [
    [("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")],
    [("Sec-WebSocket-Version", "12"), ("Sec-WebSocket-Key", "x")],
    [],
]


@pytest.mark.parametrize("path", [INCREMENT, "/", "/session/increment", "/nothing"])
async def test_websockets_are_not_served(url: str, path: str, caplog: pytest.LogCaptureFixture) -> None:
    """Answered as the plain request that it also is; nothing is kept open for a handshake, be it a good one or not."""
    plain = await ask(url, "GET", path)
    async with connect(url) as connection:
        for more in HANDSHAKES:
            offer = [("Connection", "Upgrade"), ("Upgrade", "websocket"), *more]
            assert (await connection.ask("GET", path, offer)).status == plain.status
        await connection.send(request("GET", path, [*offer, ("Connection", "close")]) + b"\x81\x00")
        assert (await connection.reply()).status == plain.status
        assert await connection.rest() == b""
    assert await count(url) == 0
    assert_nothing_went_wrong(caplog)


async def test_a_request_without_a_host_is_refused(url: str) -> None:
    """RFC 9112, 3.2; and HTTP/0.9 is not spoken."""
    for head in (b"HTTP/1.1\r\nConnection: close", b"\r\n"):
        async with connect(url) as connection:
            await connection.send(b"POST %b %b\r\n\r\n" % (INCREMENT.encode(), head))
            assert b" 200" not in await connection.rest()
    assert await count(url) == 0


@pytest.mark.parametrize("target", ["x/counters/tickets", "\\counters", "mailto:x", "?x=1", "foo", "*", "http://"])
async def test_a_target_has_one_of_its_forms(url: str, target: str) -> None:
    """RFC 9112, 3.2; `POST foo` was the page's form."""
    for method in ("GET", "POST"):
        assert (await ask(url, method, target, FORM, b"action=increment")).status == 400


@pytest.mark.parametrize(
    "headers",
    [
        [("X-Long", "x" * 17 * KIB)],
        [(f"X-{i}", "x" * 200) for i in range(100)],
        [("X-Long", "x" * 30 * KIB)],
    ],
)
async def test_too_many_headers_are_refused(url: str, headers: list[tuple[str, str]]) -> None:
    async with connect(url) as connection:
        await connection.send(request("POST", INCREMENT, headers) + SMUGGLED)
        reply = await connection.reply()
        assert_refused(reply, 431)
        assert reply.says_close
        assert await connection.rest() == b""
    assert await count(url) == 0


@pytest.mark.parametrize("size", [40 * KIB, 400 * KIB])
async def test_headers_that_h11_does_not_read_to_their_end(url: str, size: int) -> None:
    """431, or a closed connection when the answer meets what is still being sent."""
    async with connect(url) as connection:
        try:
            await connection.send(request("POST", INCREMENT, [("X-Long", "x" * size)]))
            assert (await connection.reply()).status == 431
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
    assert await count(url) == 0


@pytest.mark.parametrize("target", [f"/counters/{'x' * 9000}/increment", f"/counters?after={'x' * 9000}"])
async def test_long_targets_are_refused(url: str, target: str) -> None:
    assert_refused(await ask(url, "GET", target), 414)


async def test_headers_of_15_kib_are_welcome(url: str) -> None:
    assert (await ask(url, "POST", INCREMENT, [("X-Long", "x" * 15 * KIB)])).status == 200


async def test_slow_bodies_are_given_up(url: str) -> None:
    """408 after five seconds, however lively the client dribbles; of JSON and of the page's form."""
    form = ("Content-Type", "application/x-www-form-urlencoded")
    await asyncio.gather(give_up(url, INCREMENT, JSON), give_up(url, "/", form))
    assert await count(url) == 0


async def give_up(url: str, target: str, media: tuple[str, str]) -> None:
    async with connect(url) as connection:
        started = asyncio.get_running_loop().time()
        await connection.send(request("POST", target, [media, ("Content-Length", "100")]))
        dribbling = asyncio.ensure_future(dribble(connection))
        reply = await connection.reply()
        took_s = asyncio.get_running_loop().time() - started
        dribbling.cancel()
        assert_refused(reply, 408)
        assert 4.5 < took_s < 7
        assert await connection.rest() == b""


async def dribble(connection: Connection) -> None:
    for _ in range(99):
        await connection.send(b" ")
        await asyncio.sleep(0.2)  # the dribble itself, not a synchronisation


@pytest.mark.parametrize("size", [65 * KIB, 1024 * KIB])
@pytest.mark.parametrize("framing", ["Content-Length", "chunked"])
async def test_the_answer_to_a_large_body_arrives(url: str, framing: str, size: int) -> None:
    """A client that sends all before it reads gets its 413, not a reset in the middle of sending."""
    body = b" " * size
    how = [JSON, ("Transfer-Encoding", "chunked")] if framing == "chunked" else [JSON]
    async with connect(url) as connection:
        await connection.send(request("POST", INCREMENT, how, chunked(body) if framing == "chunked" else body))
        assert_refused(await connection.reply(), 413)
    assert await count(url) == 0


async def test_a_body_without_end_is_not_read_without_end(url: str) -> None:
    """The courtesy above is bounded."""
    async with connect(url) as connection:
        await connection.send(request("POST", INCREMENT, [JSON, ("Transfer-Encoding", "chunked")]))

        async def send_for_ever() -> None:
            while True:
                await connection.send(b"10000\r\n" + b" " * 65_536 + b"\r\n")

        sending = asyncio.ensure_future(send_for_ever())
        async with asyncio.timeout(20):  # 5 s for the body that is wanted, 8 s for the rest of it
            with pytest.raises(ConnectionError):
                await sending
    assert await count(url) == 0


async def test_pipelined_requests_are_answered_in_order(url: str) -> None:
    async with connect(url) as connection:
        await connection.send(request("POST", INCREMENT) * 20)
        assert [(await connection.reply()).json["value"] for _ in range(20)] == list(range(1, 21))


@pytest.mark.parametrize("cut", [None, -1])
async def test_a_line_end_behind_a_body_is_no_request(url: str, cut: int | None) -> None:
    """RFC 9112, 2.2: there are clients that send one, and use their connection again."""
    whole = request("POST", INCREMENT, [JSON], BY_5) + b"\r\n\r\n"
    async with connect(url) as connection:
        for value in (5, 10, 15):
            await connection.send(whole[:cut])
            assert (await connection.reply()).json["value"] == value
            await connection.send(b"" if cut is None else whole[cut:])


async def test_expect_continue(url: str) -> None:
    async with connect(url) as connection:
        head = request("POST", INCREMENT, [JSON, ("Content-Length", "9"), ("Expect", "100-continue")])
        await connection.send(head)
        assert (await connection.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
        await connection.send(b'{"by": 3}')
        assert (await connection.reply()).json["value"] == 3


async def test_head_has_no_body(url: str) -> None:
    async with connect(url) as connection:
        await connection.send(request("HEAD", "/counters/tickets", [("Connection", "close")]))
        reply = await connection.reply(to="HEAD")
        assert reply.status == 200
        assert reply.header("content-length") == str(len(b'{"name":"tickets","value":0,"version":0}'))
        assert await connection.rest() == b""


async def test_answers_that_have_no_body_have_no_length(url: str) -> None:
    """RFC 9110, 8.6: none for 204, and for 304 that of the 200 or none."""
    async with connect(url) as connection:
        options = await connection.ask("OPTIONS", "/counters/tickets")
        assert (options.status, options.header("content-length")) == (204, None)
        known = await connection.ask("GET", "/static/page.css", [("If-None-Match", "*")])
        assert (known.status, known.header("content-length")) == (304, None)
        assert (await connection.ask("GET", "/healthz")).status == 200


@pytest.mark.parametrize("headers", [[], [("Connection", "keep-alive")]])
async def test_http_1_0(url: str, headers: list[tuple[str, str]]) -> None:
    async with connect(url) as connection:
        await connection.send(request("POST", INCREMENT, headers, version="1.0"))
        assert (await connection.reply()).json["value"] == 1
        assert await connection.rest() == b""


async def test_http_1_0_without_host(url: str) -> None:
    async with connect(url) as connection:
        await connection.send(f"POST {INCREMENT} HTTP/1.0\r\n\r\n".encode())
        assert (await connection.reply()).json["value"] == 1


async def test_chunked_bodies_are_welcome(url: str) -> None:
    how = [JSON, ("Transfer-Encoding", "chunked")]
    assert (await ask(url, "POST", INCREMENT, how, chunked(b'{"by": 5}', size=2))).json["value"] == 5


# ---- clients that leave ----


@pytest.fixture
async def shared(caplog: pytest.LogCaptureFixture) -> AsyncIterator[tuple[str, aioredis.Redis]]:
    """The service in mode redis, and a connection that looks at its Redis from outside."""
    with a_server_of_our_own("redis") as server:
        # idle connections that their client has closed stay for keep_alive_timeout; serve's workers let go at once
        app = create_app(mode="redis", url=server.url)
        async with hypercorn(app, keep_alive_timeout=0.5) as url, aioredis.from_url(server.url) as watcher:
            yield url, watcher
            assert_nothing_went_wrong(caplog)


def assert_nothing_went_wrong(caplog: pytest.LogCaptureFixture) -> None:
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def connections(watcher: aioredis.Redis) -> int:
    """How many connections this Redis has ever accepted."""
    accepted: int = (await watcher.info("stats"))["total_connections_received"]
    return accepted


async def test_a_half_closed_client_counts_at_most_once(shared: tuple[str, aioredis.Redis]) -> None:
    """Hypercorn takes a half-close for a hang-up: there may be no answer, but one that comes is true."""
    url, watcher = shared
    await ask(url, "POST", "/counters/warm-up/increment")
    before = await connections(watcher)

    async def half_closed() -> bool:
        async with connect(url) as connection:
            await connection.send(request("POST", INCREMENT))
            connection.writer.write_eof()
            return (await connection.rest()).startswith(b"HTTP/1.1 200")

    answers = sum(await asyncio.gather(*(half_closed() for _ in range(20))))
    assert answers <= await count(url) <= 20
    assert await connections(watcher) == before


async def test_clients_that_leave_harm_nobody(shared: tuple[str, aioredis.Redis]) -> None:
    """100 leave in the middle, 20 stay: no 5xx, no warning, no Redis connection lost, and the count is true."""
    url, watcher = shared
    await ask(url, "POST", "/counters/warm-up/increment")
    before = await connections(watcher)

    async def leave(at: int) -> None:
        async with connect(url) as connection:
            await connection.send(request("POST", INCREMENT, [JSON], b'{"by": 1}')[: -(at % 7) or None])
            if at % 2:
                connection.writer.transport.abort()

    stayed = asyncio.gather(*(ask(url, "POST", "/counters/others/increment") for _ in range(20)))
    await asyncio.gather(*(leave(at) for at in range(100)))
    values = [reply.json["value"] for reply in await stayed]
    assert sorted(values) == list(range(1, 21))
    final = (await ask(url, "POST", INCREMENT)).json
    assert 1 <= final["value"] == final["version"] <= 101
    assert await connections(watcher) == before


@pytest.mark.parametrize("cut", [10, 60, -20, -1])
async def test_half_a_request_counts_nothing(url: str, cut: int) -> None:
    whole = request("POST", INCREMENT, [JSON], b'{"by": 1}          ')
    async with connect(url) as connection:
        await connection.send(whole[:cut])
    assert await count(url) == 0


EFFECTS = [("POST", INCREMENT), ("POST", "/session/increment"), ("POST", "/"), ("DELETE", "/counters/tickets")]


@pytest.mark.parametrize(("method", "path"), EFFECTS)
async def test_a_body_that_breaks_off_is_a_request_that_never_came(url: str, method: str, path: str) -> None:
    """It is answered 400 for its framing, so nothing may have happened; also where no body is wanted."""
    async with connect(url) as connection:
        await connection.send(request(method, path, [JSON, CHUNKED], b"ZZ\r\n"))
        assert (await connection.reply()).status == 400
    metrics = (await ask(url, "GET", "/metrics")).body
    assert b'quart_counter_changes_total{outcome="applied"} 0\n' in metrics
