"""A Redis Cluster of our own on the loopback: three primaries with a replica each, formed by our own hands.

with private_cluster() as cluster:
    cluster.url                      # redis+cluster://127.0.0.1:...
    cluster.primary("tickets").kill()
"""

from collections.abc import Sequence
from contextlib import ExitStack
from itertools import pairwise
from types import TracebackType
from typing import Any, Self

from quart_counter.local.process import LOOPBACK, LocalServer, Probe, ServerFailed, free_port
from quart_counter.local.redis import find
from quart_counter.local.resp import ask, fields
from quart_counter.local.waiting import until, until_in_step

PRIMARIES = 3
SLOTS = 16_384


class PrivateCluster:
    """Six servers and their slots, from `with` to the end of the block; nothing of them outlives it."""

    def __init__(self, node_timeout_ms: int = 1000, extra_args: Sequence[str] = ()) -> None:
        self.node_timeout_ms = node_timeout_ms
        self._ports = [(free_port(), free_port()) for _ in range(2 * PRIMARIES)]
        if len({port for pair in self._ports for port in pair}) < 4 * PRIMARIES:
            raise ServerFailed("no cluster: the same free port was found twice; try again")
        self.servers = {port: _node(port, bus, node_timeout_ms, extra_args) for port, bus in self._ports}
        self._stack = ExitStack()

    @property
    def url(self) -> str:
        """Its address for us, by three of its nodes."""
        return "redis+cluster://" + ",".join(f"{LOOPBACK}:{port}" for port in list(self.servers)[:PRIMARIES])

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for server in self.servers.values():
                stack.enter_context(server)
            self._form()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def primary(self, name: str) -> LocalServer:
        """The server that counts `name` now."""
        return self.servers[self.port_of(name)]

    def port_of(self, name: str) -> int:
        """The port of the primary that has the slot of counter `name`, as the nodes that run agree; else wait."""
        slot = int(str(ask(self._running()[0], "CLUSTER", "KEYSLOT", f"qc:{{{name}}}")))
        owners: set[int] = set()

        def agreed() -> bool:
            owners.clear()
            owners.update(_owner(port, slot) for port in self._running())
            return len(owners) == 1 and owners <= set(self._running())

        until(agreed, f"the Redis Cluster agrees on no node for slot {slot}")
        return owners.pop()

    def whole(self) -> None:
        """Return when every slot has a primary that runs, and every other node that runs is its replica in step."""

        def ready() -> bool:
            running = self._running()
            states = [fields(port, "CLUSTER", "INFO").get("cluster_state") for port in running]
            roles = [fields(port, "INFO", "replication") for port in running]
            linked = all(one["role"] == "master" or one["master_link_status"] == "up" for one in roles)
            return set(states) == {"ok"} and linked and sum(one["role"] == "master" for one in roles) == PRIMARIES

        until(ready, "the Redis Cluster did not become whole")
        until_in_step(self._running())

    def _running(self) -> list[int]:
        return [port for port, server in self.servers.items() if server.runs]

    def _form(self) -> None:
        first, *others = self._ports
        edges = [SLOTS * i // PRIMARIES for i in range(PRIMARIES + 1)]
        for epoch, ((port, _), (start, end)) in enumerate(zip(self._ports, pairwise(edges), strict=False), start=1):
            ask(port, "CLUSTER", "ADDSLOTSRANGE", start, end - 1)
            ask(port, "CLUSTER", "SET-CONFIG-EPOCH", epoch)
        for port, bus in others:
            ask(first[0], "CLUSTER", "MEET", LOOPBACK, port, bus)
        until(self._acquainted, "the nodes of the Redis Cluster did not meet")
        for (port, _), (primary, _) in zip(self._ports[PRIMARIES:], self._ports[:PRIMARIES], strict=True):
            ask(port, "CLUSTER", "REPLICATE", ask(primary, "CLUSTER", "MYID"))
        self.whole()

    def _acquainted(self) -> bool:
        known = [str(ask(port, "CLUSTER", "NODES")) for port in self.servers]
        return all(text.count("connected") == 2 * PRIMARIES and "handshake" not in text for text in known)


def private_cluster(*, node_timeout_ms: int = 1000, extra_args: Sequence[str] = ()) -> PrivateCluster:
    """A Redis Cluster for one `with` block, ready in some seconds; a dead primary is replaced after its timeout."""
    return PrivateCluster(node_timeout_ms, extra_args)


def _node(port: int, bus: int, timeout_ms: int, extra_args: Sequence[str]) -> LocalServer:
    command = [
        *find(),
        *("--port", str(port), "--bind", LOOPBACK, "--dir", ".", "--save", "", "--appendonly", "no"),
        *("--maxmemory-policy", "noeviction", "--repl-diskless-sync-delay", "0"),
        *("--cluster-enabled", "yes", "--cluster-port", str(bus), "--cluster-config-file", "nodes.conf"),
        *("--cluster-node-timeout", str(timeout_ms), "--cluster-allow-replica-migration", "no"),
        *("--cluster-require-full-coverage", "no"),
        *extra_args,
    ]
    url = f"redis+cluster://{LOOPBACK}:{port}"
    return LocalServer("redis-node", command, url=url, probe=Probe(port, b"PING\r\n", rb"\+PONG"))


def _owner(port: int, slot: int) -> int:
    """Who has the slot, by what this node knows; 0 for nobody."""
    rows: Any = ask(port, "CLUSTER", "SLOTS")
    return next((int(primary[1]) for start, end, primary, *_ in rows if start <= slot <= end), 0)
