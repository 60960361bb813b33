"""A private cluster and a private Sentinel set: whole when the block begins, gone when it ends."""

import pytest
from servers import require

from quart_counter.local.process import ServerFailed
from quart_counter.local.redis.cluster import private_cluster
from quart_counter.local.redis.resp import ask, fields
from quart_counter.local.redis.sentinel import private_sentinel


@pytest.fixture(autouse=True)
def _redis():
    require("redis")


def test_a_cluster_is_whole_and_leaves_nothing():
    with private_cluster() as cluster:
        servers = cluster.servers
        roles = sorted(fields(port, "INFO", "replication")["role"] for port in servers)
        assert roles == ["master"] * 3 + ["slave"] * 3
        assert {fields(port, "CLUSTER", "INFO")["cluster_slots_ok"] for port in servers} == {"16384"}
        folders = [server.folder for server in servers.values()]
        with pytest.raises(ServerFailed, match="unknown command"):
            ask(next(iter(servers)), "NONSENSE")
    assert not any(server.runs for server in servers.values())
    assert not any(folder.exists() for folder in folders)


def test_a_sentinel_set_is_whole_and_leaves_nothing():
    with private_sentinel() as group:
        servers = {**group.servers, **group.sentinels}
        (primary,) = (port for port, server in group.servers.items() if server is group.primary)
        assert fields(primary, "INFO", "replication")["connected_slaves"] == "2"
        folders = [server.folder for server in servers.values()]
    assert not any(server.runs for server in servers.values())
    assert not any(folder.exists() for folder in folders)
