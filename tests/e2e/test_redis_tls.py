"""Redis in all its forms over TLS alone, with a private CA: it counts exactly, and believes no other CA."""

import asyncio
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import certificates
from redis.crc import key_slot
from servers import lacking, require

from e2e.raw import ask
from e2e.served import outcome, serve
from quart_counter.errors import ConfigurationError
from quart_counter.local.process import LocalServer, ServerFailed
from quart_counter.local.redis import private_redis, resp
from quart_counter.local.redis.cluster import PrivateCluster, private_cluster
from quart_counter.local.redis.sentinel import PrivateSentinel, private_sentinel
from quart_counter.local.redis.tls import Tls
from quart_counter.model import Applied, Change, Reading
from quart_counter.stores import Limits, open_store

PATIENT = Limits(store_timeout_s=2.0, deadline_s=20.0, key_life_s=60.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require("redis")
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def ours(folder: Path) -> Tls:
    """Our CA, if the Redis of this machine knows TLS at all: that of the wheel does not."""
    tls = certificates(folder, "ours")
    try:
        with private_redis(tls=tls):
            return tls
    except ServerFailed as failed:
        if not re.search("TLS support|Bad directive", str(failed)):
            raise
        lacking("the Redis of this machine was built without TLS: `apt-get install redis-server` mends it")
        raise


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Tls:
    return certificates(folder, "theirs")


@pytest.fixture(scope="module")
def single(ours: Tls) -> Iterator[LocalServer]:
    with private_redis(tls=ours) as server:
        yield server


@pytest.fixture(scope="module")
def cluster(ours: Tls) -> Iterator[PrivateCluster]:
    with private_cluster(tls=ours) as servers:
        yield servers


@pytest.fixture(scope="module")
def sentinel(ours: Tls) -> Iterator[PrivateSentinel]:
    with private_sentinel(tls=ours) as servers:
        yield servers


async def many_at_once(url: str) -> None:
    """Twenty adds to each of eight counters: everyone gets a number of its own."""
    names = [f"c{n % 8}" for n in range(160)]
    answers = await asyncio.gather(*(ask(url, "POST", f"/counters/{name}/increment") for name in names))
    numbers = defaultdict(list)
    for answer in answers:
        numbers[answer.json["name"]].append(answer.json["value"])
    assert {name: sorted(got) for name, got in numbers.items()} == {f"c{n}": list(range(1, 21)) for n in range(8)}


@pytest.mark.parametrize("form", ["single", "cluster", "sentinel"])
async def test_it_counts_over_tls(request, form: str, ours: Tls) -> None:
    url = request.getfixturevalue(form).url
    async with serve("--workers", "2", QUART_COUNTER_URL=f"{url}?ssl_ca_certs={ours.ca}") as served:
        await many_at_once(served.url)
        assert (await ask(served.url, "GET", "/readyz")).status == 200


@pytest.mark.parametrize("form", ["single", "cluster", "sentinel"])
async def test_a_certificate_that_is_not_believed_is_told_with_its_remedy(request, form: str, theirs: Tls) -> None:
    url = request.getfixturevalue(form).url.replace("://", "://:hunter2@", 1)
    for wrong in (f"{url}?ssl_ca_certs={theirs.ca}", url):
        said = await refusal(wrong)
        assert "CERTIFICATE_VERIFY_FAILED" in said
        assert "ssl_ca_certs=FILE" in said
        assert "rediss" in said


async def test_a_certificate_for_another_host_is_not_believed(single: LocalServer, ours: Tls) -> None:
    said = await refusal(single.url.replace("127.0.0.1", "localhost") + f"?ssl_ca_certs={ours.ca}")
    assert "not valid for 'localhost'" in said
    assert "its host as the certificate does" in said


async def test_certificates_that_cannot_be_used_are_told_before_anybody_is_asked(folder: Path, ours: Tls) -> None:
    nowhere = "://:hunter2@127.0.0.1:1"
    for form in ("rediss", "rediss+cluster"):
        assert "instead of /no/such.pem" in await refusal(f"{form}{nowhere}?ssl_ca_certs=/no/such.pem")
        assert f"instead of {ours.key}" in await refusal(f"{form}{nowhere}?ssl_ca_certs={ours.key}")
    assert "instead of /no/such.pem" in await refusal(f"rediss{nowhere}?ssl_certfile=/no/such.pem")
    assert "without ssl_certfile" in await refusal(f"rediss{nowhere}?ssl_keyfile={ours.key}")
    assert "give required" in await refusal(f"rediss{nowhere}?ssl_cert_reqs=perhaps")
    for form in ("redis", "redis+cluster"):
        assert "begin it with rediss" in await refusal(f"{form}{nowhere}?ssl_ca_certs={ours.ca}")


async def test_a_server_that_wants_our_certificate_gets_it(ours: Tls) -> None:
    with private_redis(tls=ours) as server:
        port = int(server.url.rpartition(":")[2].removesuffix("/0"))
        resp.ask(port, "CONFIG", "SET", "tls-auth-clients", "yes", tls=ours.context())
        url = f"{server.url}?ssl_ca_certs={ours.ca}"
        assert "ssl_certfile=FILE" in await refusal(url)
        async with open_store(f"{url}&ssl_certfile={ours.certificate}&ssl_keyfile={ours.key}", PATIENT) as store:
            assert await store.apply([Change("a")]) == [Applied(1, 1)]


async def refusal(url: str) -> str:
    """The one sentence that refuses to open `url`, without the password in it."""
    with pytest.raises(ConfigurationError) as raised:
        async with open_store(url, Limits(store_timeout_s=2.0, deadline_s=0.1, key_life_s=60.0)):
            pytest.fail("it opened")
    said = str(raised.value)
    assert "hunter2" not in said
    assert "\n" not in said
    return said


async def test_serve_ends_with_that_sentence_and_status_2(single: LocalServer, theirs: Tls) -> None:
    wrong = f"{single.url}?ssl_ca_certs={theirs.ca}"
    status, said = await outcome("serve", "--bind", "127.0.0.1:0", QUART_COUNTER_URL=wrong)
    assert (status, "Traceback" in said, "ssl_ca_certs=FILE" in said) == (2, False, True), said


async def test_a_slot_that_moved_is_followed_over_tls(cluster: PrivateCluster, ours: Tls) -> None:
    trust, slot = ours.context(), key_slot(b"moving")
    async with open_store(f"{cluster.url}?ssl_ca_certs={ours.ca}", PATIENT) as store:
        source = await asyncio.to_thread(cluster.port_of, "moving")
        others = [await asyncio.to_thread(cluster.port_of, name) for name in "abcdef"]
        target = next(port for port in others if port != source)
        owner = resp.ask(target, "CLUSTER", "MYID", tls=trust)
        for port in (target, source):
            resp.ask(port, "CLUSTER", "SETSLOT", slot, "NODE", owner, tls=trust)
        assert await store.apply([Change("moving")] * 3) == [Applied(n, n) for n in (1, 2, 3)]
        assert await store.read("moving") == Reading(3, 3)
    assert "errorstat_MOVED" in resp.fields(source, "INFO", "errorstats", tls=trust)


@pytest.mark.soak
@pytest.mark.parametrize("start", [private_cluster, private_sentinel])
async def test_a_failover_over_tls_is_waited_for(start, ours: Tls) -> None:
    with start(tls=ours) as servers:
        async with open_store(f"{servers.url}?ssl_ca_certs={ours.ca}&wait_replicas=1", PATIENT) as store:
            assert await store.apply([Change("a", 5, key="k")]) == [Applied(5, 1)]
            victim = await asyncio.to_thread(primary, servers)
            await asyncio.to_thread(victim.kill)
            late = asyncio.create_task(store.apply([Change("a")]))
            await asyncio.to_thread(primary, servers)
            await asyncio.to_thread(victim.start)  # whoever took over in a cluster is alone until then
            assert await late == [Applied(6, 2)]
            assert await store.apply([Change("a", 5, key="k")]) == [Applied(5, 1, replayed=True)]
            assert await store.read("a") == Reading(6, 2)


def primary(servers: PrivateCluster | PrivateSentinel) -> LocalServer:
    return servers.primary("a") if isinstance(servers, PrivateCluster) else servers.primary
