"""A Redis Cluster of our own on the loopback: three primaries with a replica each, formed by our own hands.

with private_cluster() as cluster:
    cluster.url                      # redis+cluster://127.0.0.1:...
    cluster.primary("tickets").kill()
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import Any

from quart_counter.local.process import LOOPBACK, LocalServer, free_ports, together
from quart_counter.local.redis import server
from quart_counter.local.redis.resp import ask, fields
from quart_counter.local.redis.tls import Tls
from quart_counter.local.redis.waiting import until, until_in_step

PRIMARIES = 3
SLOTS = 16_384


@contextmanager
def private_cluster(
    *, node_timeout_ms: int = 1000, extra_args: Sequence[str] = (), tls: Tls | None = None
) -> Iterator["PrivateCluster"]:
    """A Redis Cluster for one `with` block, ready in some seconds; a dead primary is replaced after its timeout."""
    cluster = PrivateCluster(node_timeout_ms, extra_args, tls)
    with together(cluster.servers.values()):
        cluster.form()
        yield cluster


class PrivateCluster:
    """Six servers and their slots."""

    def __init__(self, node_timeout_ms: int, extra_args: Sequence[str], tls: Tls | None) -> None:
        ports = free_ports(4 * PRIMARIES)
        self._ports = list(zip(ports[::2], ports[1::2], strict=True))
        self.servers = {port: _node(port, bus, node_timeout_ms, extra_args, tls) for port, bus in self._ports}
        self._trust = tls.context() if tls else None
        self._scheme = "rediss" if tls else "redis"
        self._ask, self._fields = partial(ask, tls=self._trust), partial(fields, tls=self._trust)

    @property
    def url(self) -> str:
        """Its address for us, by three of its nodes."""
        return f"{self._scheme}+cluster://" + ",".join(f"{LOOPBACK}:{port}" for port in list(self.servers)[:PRIMARIES])

    def form(self) -> None:
        """Share the slots out, make the nodes meet, give each primary its replica; once, when all of them run."""
        first, *others = self._ports
        edges = [SLOTS * i // PRIMARIES for i in range(PRIMARIES + 1)]
        for epoch, ((port, _), (start, end)) in enumerate(zip(self._ports, pairwise(edges), strict=False), start=1):
            self._ask(port, "CLUSTER", "ADDSLOTSRANGE", start, end - 1)
            self._ask(port, "CLUSTER", "SET-CONFIG-EPOCH", epoch)
        for port, bus in others:
            self._ask(first[0], "CLUSTER", "MEET", LOOPBACK, port, bus)
        until(self._acquainted, "the nodes of the Redis Cluster did not meet")
        for (port, _), (primary, _) in zip(self._ports[PRIMARIES:], self._ports[:PRIMARIES], strict=True):
            self._ask(port, "CLUSTER", "REPLICATE", self._ask(primary, "CLUSTER", "MYID"))
        self.whole()

    def primary(self, name: str) -> LocalServer:
        """The server that counts `name` now."""
        return self.servers[self.port_of(name)]

    def port_of(self, name: str) -> int:
        """The port of the primary that has the slot of counter `name`, as the nodes that run agree; else wait."""
        slot = int(str(self._ask(self._running()[0], "CLUSTER", "KEYSLOT", f"qc:{{{name}}}")))
        owners: set[int] = set()

        def agreed() -> bool:
            owners.clear()
            owners.update(self._owner(port, slot) for port in self._running())
            return len(owners) == 1 and owners <= set(self._running())

        until(agreed, f"the Redis Cluster agrees on no node for slot {slot}")
        return owners.pop()

    def whole(self) -> None:
        """Return when every slot has a primary that runs, and every other node that runs is its replica in step."""

        def ready() -> bool:
            running = self._running()
            states = [self._fields(port, "CLUSTER", "INFO").get("cluster_state") for port in running]
            roles = [self._fields(port, "INFO", "replication") for port in running]
            linked = all(one["role"] == "master" or one["master_link_status"] == "up" for one in roles)
            return set(states) == {"ok"} and linked and sum(one["role"] == "master" for one in roles) == PRIMARIES

        until(ready, "the Redis Cluster did not become whole")
        until_in_step(self._running(), self._trust)

    def _running(self) -> list[int]:
        return [port for port, server in self.servers.items() if server.runs]

    def _acquainted(self) -> bool:
        known = [str(self._ask(port, "CLUSTER", "NODES")) for port in self.servers]
        return all(text.count("connected") == 2 * PRIMARIES and "handshake" not in text for text in known)

    def _owner(self, port: int, slot: int) -> int:
        """Who has the slot, by what this node knows; 0 for nobody."""
        rows: Any = self._ask(port, "CLUSTER", "SLOTS")
        return next((int(primary[1]) for start, end, primary, *_ in rows if start <= slot <= end), 0)


def _node(port: int, bus: int, timeout_ms: int, extra_args: Sequence[str], tls: Tls | None) -> LocalServer:
    own = [
        *("--appendonly", "no", "--repl-diskless-sync-delay", "0"),
        *("--cluster-enabled", "yes", "--cluster-port", str(bus), "--cluster-config-file", "nodes.conf"),
        *("--cluster-node-timeout", str(timeout_ms), "--cluster-allow-replica-migration", "no"),
        *("--cluster-require-full-coverage", "no"),
    ]
    return server(port, [*own, *extra_args], tls)
