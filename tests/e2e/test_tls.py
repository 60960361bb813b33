"""TLS by a Hypercorn file, and HTTP/2 in it: answered, idle in peace, and ended without a word."""

import asyncio
import datetime
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest

from e2e.raw import Connection
from e2e.served import Served, started

INCREMENT = "/counters/tickets/increment"
HEADERS = [(":method", "POST"), (":path", INCREMENT), (":scheme", "https"), (":authority", "localhost")]


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """`serve` with a certificate, on the one loop that reads TLS itself and needs no extra."""
    write_certificate(tmp_path / "both.pem")
    both = tmp_path / "both.pem"
    (tmp_path / "server.toml").write_text(f'certfile = "{both}"\nkeyfile = "{both}"\n')
    given = ("--config", str(tmp_path / "server.toml"), "--loop", "asyncio")
    async with started("serve", "--bind", "127.0.0.1:0", *given) as served:
        served.url = (await served.says(r"listening on\s+(https://\S+)"))[1]
        yield served


def write_certificate(file: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.datetime.now(datetime.UTC)
    until = now + datetime.timedelta(days=1)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, until)
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(secret + made.sign(key, hashes.SHA256()).public_bytes(pem))


@asynccontextmanager
async def connect(url: str, protocol: str) -> AsyncIterator[Connection]:
    careless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    careless.check_hostname, careless.verify_mode = False, ssl.CERT_NONE
    careless.set_alpn_protocols([protocol])
    host, port = url.removeprefix("https://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=careless)
    with closing(writer):
        yield Connection(reader, writer)


class Http2:
    """A client that asks, and hears what the other side says."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.http.initiate_connection()

    async def ask(self, times: int) -> list[str]:
        """Ask so often at once; return the statuses."""
        for _ in range(times):
            self.http.send_headers(self.http.get_next_available_stream_id(), HEADERS, end_stream=True)
        statuses: list[str] = []
        ended = 0
        while ended < times:
            for event in await self.hear():
                if isinstance(event, h2.events.ResponseReceived):
                    statuses.append(dict(event.headers)[":status"])
                ended += isinstance(event, h2.events.StreamEnded)
        return statuses

    async def ping(self) -> None:
        """Say something that is no request, and be answered."""
        self.http.ping(b"12345678")
        while not any(isinstance(event, h2.events.PingAckReceived) for event in await self.hear()):
            pass

    async def hear(self) -> list[h2.events.Event]:
        await self.connection.send(self.http.data_to_send())
        async with asyncio.timeout(15):
            data = await self.connection.reader.read(65536)
        assert data, "it hung up"
        return self.http.receive_data(data)


async def test_http2_goes_on_after_its_first_answers(served: Served) -> None:
    async with connect(served.url, "h2") as connection:
        client = Http2(connection)
        for _ in range(3):
            assert await client.ask(30) == ["200"] * 30
            await client.ping()
        served.signal(signal.SIGTERM)
        assert await served.status() == 0
    assert served.said[-1].startswith("stopping"), served.said
    assert not [line for line in served.said if "Traceback" in line]


async def test_http1_over_tls(served: Served) -> None:
    async with connect(served.url, "http/1.1") as connection:
        values = [(await connection.ask("POST", INCREMENT)).json["value"] for _ in range(5)]
    assert values == [1, 2, 3, 4, 5]
