"""Requests that go together, over real sockets, to servers that answer as they should not."""

import asyncio
import datetime
import ipaddress
import ssl
import subprocess
import sys
from functools import partial

import pytest
from rude import Call, count, rude

from quart_counter.errors import ConfigurationError
from quart_counter.lab.foreign import answers, target, volley, wire
from quart_counter.lab.foreign.race import Race
from quart_counter.lab.foreign.row import Plan, Row
from quart_counter.lab.history import Operation

VALUE = answers.Extractor("json", "/value")


async def raced(url: str, clients: int = 4, requests: int | None = None, *, body: bytes = b"", **plan) -> Row:
    """Race a URL, without a first look unless `extractor=None` asks for it."""
    asked = target.compose(url, "POST", (), body)
    plan = {"extractor": VALUE, "timeout_s": 10.0, **plan}
    async with wire.over_sockets(target.aim(url, asked), clients) as client:
        race = Race(url, "POST", Plan(clients, requests or clients, **plan))
        return await race.run(partial(client, asked))


def outcomes(row: Row) -> dict[str, int]:
    document = row.document()
    return {name: document[name] for name in ("ok", "fail", "unknown") if document[name]}


async def test_all_numbers_once():
    async with rude(count) as server:
        row = await raced(server.url, 10, 30)
    assert (row.verdict, sorted(row.numbers), row.max_in_flight) == ("NO_RACE_SEEN", list(range(1, 31)), 10)
    assert server.connections == 11, "one to see whether anybody is there, then one a client, kept"


@pytest.mark.parametrize("body", [b"", b'{"by": 1}'])
async def test_nobody_is_answered_before_all_are_there(body):
    """When the first request was whole, all the others had arrived but for one byte of the head."""

    async def same(call: Call) -> None:
        assert call.body == body
        await call.answer('{"value": 7}')

    async with rude(same) as server:
        row = await raced(server.url, 20, body=body)
    whole = max(server.at_the_first)
    assert sorted(server.at_the_first) == [whole - 1] * 19 + [whole]
    assert (row.verdict, row.anomalies["duplicate"]) == ("RACY", 19 + row.asked_on)


SAID = {
    "chunked": 'HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\na\n{{"value": \n{size:x}\n{n}}}\n0\n\n',
    "an interim answer first": "HTTP/1.1 103 Early Hints\n\n"
    'HTTP/1.1 200 OK\nContent-Length: {whole}\n\n{{"value": {n}}}',
}


@pytest.mark.parametrize("how", SAID)
async def test_every_framing_is_read(how):
    async def say(call: Call) -> None:
        n = str(call.number)
        await call.say(SAID[how].format(n=n, size=len(n) + 1, whole=len(n) + 11))

    async with rude(say) as server:
        row = await raced(server.url, 4, 12)
    assert (row.verdict, len(row.numbers)) == ("NO_RACE_SEEN", 12)


async def test_an_answer_may_end_with_its_connection():
    async def until_closed(call: Call) -> None:
        await call.say(f'HTTP/1.0 200 OK\n\n{{"value": {call.number}}}')
        call.close()

    async with rude(until_closed) as server:
        row = await raced(server.url, 4, 12)
    assert (row.verdict, server.connections) == ("NO_RACE_SEEN", 13)


async def hang(call: Call) -> None:
    await asyncio.sleep(60)


async def drop(call: Call) -> None:
    call.close()


RUDE = {
    "garbage": ("SSH-2.0-OpenSSH\n\n", "illegal"),
    "closed in the middle": ("HTTP/1.1 200 OK\nContent-Length: 99\n\n{", "without sending complete message body"),
    "closed at once": ("", "closed without an answer"),
    "no number": ("HTTP/1.1 204 No Content\n\n", "no number in an answer (204 No Content)"),
    "a server error": ("HTTP/1.1 500 Oops\nContent-Length: 0\n\n", "500 Oops"),
    "seen elsewhere": ("HTTP/1.1 303 See Other\nLocation: /\nContent-Length: 0\n\n", "303 See Other"),
    "no end": ("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n" + 20 * ("fffff\n" + "x" * 0xFFFFF + "\n"), "longer"),
}


@pytest.mark.parametrize("how", RUDE)
async def test_what_may_have_counted_is_unknown(how):
    data, trouble = RUDE[how]

    async def say(call: Call) -> None:
        if call.number <= 3:
            return await count(call)
        await call.say(data)
        call.close()

    async with rude(say) as server:
        row = await raced(server.url, 4)
    assert outcomes(row) == {"ok": 3, "unknown": 1}
    (told,) = row.troubles
    assert trouble in told
    assert row.verdict == "NO_RACE_SEEN"


async def test_a_timeout_is_unknown():
    async with rude(hang) as server:
        row = await raced(server.url, timeout_s=0.3)
    assert outcomes(row) == {"unknown": 4}
    assert row.troubles == {"no answer within 0.3 s": 4}
    assert (row.verdict, row.doubt) == ("INCONCLUSIVE", "no request was answered with a number")


@pytest.mark.parametrize("status", ["404 Not Found", "429 Too Many Requests", "307 Temporary Redirect"])
async def test_what_cannot_have_counted_failed(status):
    async def turn_away(call: Call) -> None:
        await (count(call) if call.number == 1 else call.answer(status=status))

    async with rude(turn_away) as server:
        row = await raced(server.url)
    assert (outcomes(row), row.troubles) == ({"ok": 1, "fail": 3}, {status: 3})
    assert row.doubt == "only 1 of 4 requests were answered with a number"


async def test_unknown_requests_may_explain_a_hole():
    """2 was given to somebody who never heard of it: that is no race."""

    async def swallow_the_second(call: Call) -> None:
        await (drop(call) if call.number == 2 else count(call))

    async with rude(swallow_the_second) as server:
        row = await raced(server.url)
    assert (row.verdict, sorted(row.numbers)) == ("NO_RACE_SEEN", [1, 3, 4])


async def test_a_connection_that_breaks_before_its_end_was_sent_had_no_effect():
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.close()

    server = await asyncio.start_server(never, "127.0.0.1", 0)
    async with server:
        row = await raced(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    assert outcomes(row) == {"fail": 4}
    assert row.troubles == {"the connection was closed before the request was complete": 4}


async def test_nobody_there_is_told_at_once():
    async with rude(count) as server:
        pass
    with pytest.raises(ConfigurationError, match=r"nothing answers at http://.* \(connection refused\): start"):
        await raced(server.url)


async def test_ipv6():
    try:
        async with rude(count, "::1") as server:
            assert (await raced(server.url)).verdict == "NO_RACE_SEEN"
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")


async def test_a_name_with_two_addresses_is_tried_at_both():
    """localhost is ::1 first where there is IPv6; the server listens on 127.0.0.1 alone."""
    async with rude(count) as server:
        assert (await raced(server.url.replace("127.0.0.1", "localhost"))).verdict == "NO_RACE_SEEN"


@pytest.fixture(scope="module")
def self_signed(tmp_path_factory) -> ssl.SSLContext:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("10.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "self-signed.pem"
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    file.write_bytes(key.private_bytes(pem, pkcs8, plain) + certificate.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


async def test_a_certificate_on_this_machine_need_prove_nothing(self_signed):
    async with rude(count, tls=self_signed) as server:
        row = await raced(server.url, 10, 30)
    assert (row.verdict, row.max_in_flight) == ("NO_RACE_SEEN", 10)


async def test_a_certificate_elsewhere_must_be_right(self_signed):
    async with rude(count, tls=self_signed) as server:
        aimed = target.aim(server.url, target.compose(server.url))
        far = target.Place(aimed.places[0].family, "10.0.0.1", 443)
        strict = wire.context(target.Target(server.url, aimed.request, "10.0.0.1", True, (far,)))
        client = wire.SocketClient(aimed.request, "10.0.0.1", aimed.places[0], strict)
        with pytest.raises(wire.NotSent, match="self-signed certificate"):
            await client.ready(last=False)


async def test_a_server_for_one_connection_at_a_time_is_raced_too(monkeypatch):
    """It waits for us to hang up, while we wait for the others: we hang up."""
    monkeypatch.setattr(volley, "STALL_S", 0.2)
    turn = asyncio.Lock()
    numbers = iter(range(1, 100))

    async def one_by_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with turn:
            while await reader.read(65536):
                body = f'{{"value": {next(numbers)}}}'
                writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
            writer.close()

    class Whole(asyncio.StreamReader):
        """Gives what came only once it is a whole request, as a parser would."""

        async def read(self, n: int = -1) -> bytes:
            try:
                return await self.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                return b""

    def protocol() -> asyncio.StreamReaderProtocol:
        return asyncio.StreamReaderProtocol(Whole(), one_by_one)

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    async with server:
        row = await raced(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", 3, 6)
    assert (row.verdict, len(row.numbers), row.troubles) == ("NO_RACE_SEEN", 6, {})


async def test_a_connection_closed_between_two_requests_is_made_anew():
    async def once(call: Call) -> None:
        await count(call)
        call.close()

    async with rude(once) as server:
        row = await raced(server.url, 4, 12)
    assert (row.verdict, outcomes(row)) == ("NO_RACE_SEEN", {"ok": 12})


async def test_who_cannot_connect_in_time_does_not_hold_up_the_others(monkeypatch):
    """A server that takes two connections and no more until it has answered, as one with a short backlog."""
    monkeypatch.setattr(volley, "PATIENCE_S", 0.2)

    class Late(wire.SocketClient):
        met = asyncio.Event()

        async def ready(self, *, last: bool) -> bool:
            await self.met.wait()
            return await super().ready(last=last)

    async def meet(call: Call) -> None:
        Late.met.set()
        await count(call)

    async with rude(meet) as server:
        asked = target.compose(server.url)
        place = target.aim(server.url, asked).places[0]
        crowd = [wire.SocketClient(asked, "", place, None), Late(asked, "", place, None)]
        seen = volley.Volley("n", VALUE, 10.0)
        await volley.fire(seen, crowd, 2)
    assert [(operation.process, operation.outcome) for operation in seen.operations] == [(0, "ok"), (1, "ok")]


async def test_an_interrupted_race_keeps_what_was_under_way_as_unknown():
    """Or what they took would look like a hole."""
    under_way = asyncio.Event()

    async def half(call: Call) -> None:
        if call.number % 2:
            return await count(call)
        if call.number == 4:
            under_way.set()
        await hang(call)

    async with rude(half) as server:
        asked = target.compose(server.url)
        async with wire.over_sockets(target.aim(server.url, asked), 4) as client:
            heard: asyncio.Queue[Operation] = asyncio.Queue()
            race = Race(server.url, "POST", Plan(4, 4, VALUE), heard.put_nowait)
            running = asyncio.create_task(race.run(partial(client, asked)))
            await under_way.wait()
            assert {(await heard.get()).outcome, (await heard.get()).outcome} == {"ok"}
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
    row = race.row()
    assert outcomes(row) == {"ok": 2, "unknown": 2}
    assert row.judged.verdict == "valid"


async def test_each_client_keeps_its_own_cookies():
    sessions: dict[str, int] = {}

    async def per_cookie(call: Call) -> None:
        who = call.header("Cookie") or f"id={call.number}"
        sessions[who] = sessions.get(who, 0) + 1
        await call.answer(f'{{"value": {sessions[who]}}}', headers=f"Set-Cookie: {who}; Path=/; HttpOnly\n")

    async with rude(per_cookie) as server:
        own = await raced(server.url, 4, 12, per_client=True)
        shared = await raced(server.url, 4, 12)
    assert (own.verdict, sorted(own.numbers)) == ("NO_RACE_SEEN", sorted([1, 2, 3] * 4))
    assert shared.verdict == "RACY"


async def test_clients_that_share_a_number_do_not_have_their_own():
    async with rude(count) as server:
        row = await raced(server.url, 4, 12, per_client=True)
    assert row.verdict == "RACY"


async def test_volleys_are_repeated_until_one_shows_a_race():
    async def late_fault(call: Call) -> None:
        await call.answer(f'{{"value": {call.number if call.number != 10 else 9}}}')

    async with rude(late_fault) as server:
        row = await raced(server.url, 4, repeat=9)
    assert (row.verdict, len(row.adds) - row.asked_on) == ("RACY", 12)


async def test_what_goes_wrong_between_two_volleys_is_seen_too():
    """Each volley is right by itself; the counter was reset in between."""

    async def reset(call: Call) -> None:
        await call.answer(f'{{"value": {(call.number - 1) % 4 + 1}}}')

    async with rude(reset) as server:
        row = await raced(server.url, 4, repeat=2)
    assert (row.verdict, row.anomalies["duplicate"]) == ("RACY", 4 + row.asked_on)


async def test_gaps_are_allowed_if_the_caller_says_so():
    async def in_tens(call: Call) -> None:
        await call.answer(f'{{"value": {10 * call.number}}}')

    async with rude(in_tens) as server:
        assert (await raced(server.url)).verdict == "RACY"
        assert (await raced(server.url, gaps_allowed=True)).verdict == "NO_RACE_SEEN"


@pytest.mark.parametrize("start", [None, 100])
async def test_a_count_of_what_is_left_is_right_too(start):
    """Seats left: 99, 98, 97. Two of one number are as wrong as upwards."""

    async def left(call: Call) -> None:
        await call.answer(f'{{"value": {100 - call.number}}}')

    async def sold_twice(call: Call) -> None:
        await call.answer(f'{{"value": {100 - call.number + call.number // 7}}}')

    async with rude(left) as server:
        assert (await raced(server.url, repeat=3, start=start)).verdict == "NO_RACE_SEEN"
    async with rude(sold_twice) as server:
        assert (await raced(server.url, repeat=3, start=start)).verdict == "RACY"


async def test_answers_that_hold_no_number_there_prove_nothing():
    """A third of them is an error that says 200: its code is not the counter."""

    async def busy(call: Call) -> None:
        await call.answer('{"error": "busy", "code": 17}' if call.number % 3 == 1 else f'{{"value": {call.number}}}')

    async with rude(busy) as server:
        row = await raced(server.url, 12, extractor=None)
    assert (row.verdict, row.diagnosis) == ("INCONCLUSIVE", None)
    assert "8 answers hold no integer at json:/code: name the place with --answer" in str(row)


async def test_a_start_that_is_known_is_held_to():
    async with rude(count) as server:
        assert (await raced(server.url, start=0)).verdict == "NO_RACE_SEEN"
        assert (await raced(server.url, start=0)).anomalies["skipped"] == 4


ROOM = """
import resource, sys
from quart_counter.lab.foreign.wire import _make_room
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (100, {hard}))
_make_room(300)
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def test_a_thousand_clients_need_open_files():
    """The soft limit is raised; a hard one that is too low is told, with the remedy."""
    raised = subprocess.run([sys.executable, "-c", ROOM.format(hard="hard")], capture_output=True, text=True)
    assert int(raised.stdout) >= 664
    refused = subprocess.run([sys.executable, "-c", ROOM.format(hard=200)], capture_output=True, text=True)
    assert "300 connections need 364 open files and this process may have 200" in refused.stderr
