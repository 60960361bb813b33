"""TLS by a Hypercorn file: HTTP/1.1 in it and nothing else, bounded as without it."""

import asyncio
import datetime
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import h2.config
import h2.connection
import pytest

from e2e.raw import Connection
from e2e.served import Served, started

INCREMENT = "/counters/tickets/increment"
HEADERS = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"localhost")]


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


class TlsConnection(Connection):
    @property
    def protocol(self) -> str | None:
        """What the other side chose of what was offered."""
        return self.writer.get_extra_info("ssl_object").selected_alpn_protocol()  # type: ignore[no-any-return]


@asynccontextmanager
async def connect(url: str, *protocols: str) -> AsyncIterator[TlsConnection]:
    careless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    careless.check_hostname, careless.verify_mode = False, ssl.CERT_NONE
    careless.set_alpn_protocols(protocols)
    host, port = url.removeprefix("https://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=careless)
    with closing(writer):
        yield TlsConnection(reader, writer)


async def test_http2_is_not_offered(served: Served) -> None:
    """It has floods of its own, which Hypercorn does not bound, and paths that are a traceback."""
    async with connect(served.url, "h2", "http/1.1") as connection:
        assert connection.protocol == "http/1.1"
        assert (await connection.ask("POST", INCREMENT)).json["value"] == 1
    async with connect(served.url, "h2") as connection:
        assert connection.protocol is None
        h2c = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        h2c.initiate_connection()
        h2c.send_headers(1, [*HEADERS, (b":path", b"/counters/x\xc3\xa9")], end_stream=True)
        await connection.send(h2c.data_to_send())
        assert (await connection.reply()).status == 400
        await connection.rest()
    await served_without_a_word(served)


async def test_a_handshake_must_come_to_its_end(served: Served) -> None:
    """Those that have not begun, those that stopped in it, and those that say nothing after it."""
    host, port = served.url.removeprefix("https://").split(":")
    half = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"
    silent = [await asyncio.open_connection(host, int(port)) for _ in range(2)]
    silent[1][1].write(half)
    async with connect(served.url, "http/1.1") as connection:
        await asyncio.gather(*(Connection(*one).rest() for one in silent), connection.rest())
    for _, writer in silent:
        writer.close()
    await served_without_a_word(served)


async def served_without_a_word(served: Served) -> None:
    served.signal(signal.SIGTERM)
    assert await served.status() == 0
    assert served.said[-1].startswith("stopping"), served.said
    assert not [line for line in served.said if "Traceback" in line]


async def test_http1_over_tls(served: Served) -> None:
    async with connect(served.url, "http/1.1") as connection:
        values = [(await connection.ask("POST", INCREMENT)).json["value"] for _ in range(5)]
    assert values == [1, 2, 3, 4, 5]
