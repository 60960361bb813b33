"""A primary, two replicas and three Sentinels of our own on the loopback, which agree on who is the primary.

with private_sentinel() as group:
    group.url                        # redis+sentinel://127.0.0.1:...
    group.primary.kill()
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from quart_counter.local.process import LOOPBACK, LocalServer, free_ports, together
from quart_counter.local.redis import find, ready, server
from quart_counter.local.redis.resp import ask, fields
from quart_counter.local.redis.tls import Tls, doors
from quart_counter.local.redis.waiting import until, until_in_step

SERVICE = "counters"
REPLICAS = 2
SENTINELS = 3
QUORUM = 2


@contextmanager
def private_sentinel(
    *, down_after_ms: int = 1000, extra_args: Sequence[str] = (), tls: Tls | None = None
) -> Iterator["PrivateSentinel"]:
    """A Sentinel set for one `with` block, ready in some seconds; a dead primary is replaced after that time."""
    group = PrivateSentinel(down_after_ms, extra_args, tls)
    with together([*group.servers.values(), *group.sentinels.values()]):
        group.whole()
        yield group


class PrivateSentinel:
    """Three servers and three Sentinels."""

    def __init__(self, down_after_ms: int, extra_args: Sequence[str], tls: Tls | None) -> None:
        first, *others = free_ports(1 + REPLICAS + SENTINELS)
        self.servers = {first: _server(first, extra_args, tls)}
        for port in others[:REPLICAS]:
            self.servers[port] = _server(port, [*extra_args, "--replicaof", f"{LOOPBACK} {first}"], tls)
        self.sentinels = {port: _sentinel(port, first, down_after_ms, tls) for port in others[REPLICAS:]}
        self._trust = tls.context() if tls else None
        self._scheme = "rediss" if tls else "redis"
        self._ask, self._fields = partial(ask, tls=self._trust), partial(fields, tls=self._trust)

    @property
    def url(self) -> str:
        """Its address for us, by its Sentinels."""
        hosts = ",".join(f"{LOOPBACK}:{port}" for port in self.sentinels)
        return f"{self._scheme}+sentinel://{hosts}/{SERVICE}/0"

    @property
    def primary(self) -> LocalServer:
        """The server that every Sentinel takes for the primary, once they agree on one that runs."""
        return self.servers[self._agreed()]

    def whole(self) -> None:
        """Return when all servers that run follow one primary, and every Sentinel knows them and its like."""
        self._agreed()
        until(self._complete, "the Sentinel set did not become whole")
        until_in_step(self._running(self.servers), self._trust)

    def _agreed(self) -> int:
        told: set[int] = set()

        def agree() -> bool:
            told.clear()
            told.update(map(self._told, self._running(self.sentinels)))
            return len(told) == 1 and told <= set(self._running(self.servers))

        until(agree, "the Sentinels agree on no primary that runs")
        return told.pop()

    def _told(self, sentinel: int) -> int:
        place = self._ask(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return int(str(place[1])) if isinstance(place, list) else 0

    def _complete(self) -> bool:
        primary, running = self._agreed(), self._running(self.servers)
        followers = [self._fields(port, "INFO", "replication") for port in running if port != primary]
        linked = all(one.get("master_link_status") == "up" for one in followers)
        # one that was not told in time may follow a primary that has come back, empty
        of_this = all(one.get("master_port") == str(primary) for one in followers)
        return linked and of_this and all(self._knows_all(port) for port in self._running(self.sentinels))

    def _knows_all(self, sentinel: int) -> bool:
        line = self._fields(sentinel, "INFO", "sentinel")["master0"]
        return f"status=ok,address={LOOPBACK}:{self._agreed()},slaves={REPLICAS},sentinels={SENTINELS}" in line

    def _running(self, servers: Mapping[int, LocalServer]) -> list[int]:
        return [port for port, server in servers.items() if server.runs]


def _server(port: int, extra_args: Sequence[str], tls: Tls | None) -> LocalServer:
    return server(port, ["--appendonly", "no", "--repl-diskless-sync-delay", "0", *extra_args], tls)


def _sentinel(port: int, primary: int, down_after_ms: int, tls: Tls | None) -> LocalServer:
    lines = [
        f"sentinel monitor {SERVICE} {LOOPBACK} {primary} {QUORUM}",
        f"sentinel down-after-milliseconds {SERVICE} {down_after_ms}",
        f"sentinel failover-timeout {SERVICE} {5 * down_after_ms}",
    ]
    written = f"printf '%s\\n' {shlex.join(lines)} > sentinel.conf"
    command = [*find(), "sentinel.conf", "--sentinel", *doors(port, tls), "--bind", LOOPBACK]
    url = f"redis://{LOOPBACK}:{port}"
    return LocalServer("sentinel", command, url=url, probe=ready(port, tls), setup=[["/bin/sh", "-c", written]])
