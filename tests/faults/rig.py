"""What a row runs in: a store of its own, the real service with its workers, and lines that can be broken."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit, urlunsplit

from faults.crowd import Crowd, Wanted
from faults.late import LateProxy
from faults.proxy import FaultProxy
from quart_counter.local.mariadb import private_mariadb
from quart_counter.local.memcached import private_memcached
from quart_counter.local.postgres import private_postgres
from quart_counter.local.process import LocalServer
from quart_counter.local.redis import private_redis
from quart_counter.local.redis.cluster import PrivateCluster, private_cluster
from quart_counter.local.redis.sentinel import PrivateSentinel, private_sentinel
from quart_counter.serving.service import Service
from quart_counter.settings import load_settings
from quart_counter.stores.manager.process import private_manager

SERVERS = {
    "redis": private_redis,
    "cluster": private_cluster,
    "sentinel": private_sentinel,
    "postgres": private_postgres,
    "mysql": private_mariadb,
    "memcached": lambda: private_memcached(extra_args=["-M"]),  # evicts nothing: what our promise asks for
}
AnyServer = LocalServer | PrivateCluster | PrivateSentinel
PATIENCE_S = 60.0
STANDSTILL_S = 120  # nobody hears anything for so long: the row is over


@dataclass
class Rig:
    """A running service. `line` is the proxy between app and store, `door` the one between clients and app."""

    service: Service
    crowd: Crowd
    server: AnyServer | None = None
    line: LateProxy | None = None
    door: FaultProxy | None = None
    folder: Path = field(default_factory=Path)

    async def all_up(self, but: int = 0) -> float:
        """Wait until all workers are ready again, none of them `but`; return how long that took."""
        began = time.monotonic()
        wanted = self.service._settings.workers
        await until(lambda: len(self.service.pids) == wanted and but not in self.service.pids)
        return time.monotonic() - began

    async def progress(self, changes: int) -> None:
        """Wait until so many more changes are settled."""
        goal = self.crowd.settled + changes
        await until(lambda: self.crowd.settled >= goal)

    async def last_reads(self) -> None:
        """Read every counter, after every other return."""
        caller = self.crowd.caller()
        for name in sorted(self.crowd.names):
            await caller.settle(Wanted("read", name))


async def until(true: Callable[[], object], *, patience_s: float = PATIENCE_S, look_s: float = 0.005) -> None:
    """Return when it is true. Processes and files send no events, so it is looked at again and again."""
    async with asyncio.timeout(patience_s):
        while True:
            if true():
                return
            await asyncio.sleep(look_s)


@asynccontextmanager
async def kept_going(crowd: Crowd) -> AsyncIterator[None]:
    """Raise TimeoutError in the block when its clients come to a standstill, so that no row can hang.

    Seconds are counted by waking up, for a judge that computes for minutes is no standstill.
    """

    async def watch() -> None:
        seen, idle_s = -1, 0
        while idle_s < STANDSTILL_S:
            await asyncio.sleep(1)
            idle_s = 0 if len(crowd.operations) != seen else idle_s + 1
            seen = len(crowd.operations)
        patience.reschedule(0)

    async with asyncio.timeout(None) as patience:
        watcher = asyncio.create_task(watch())
        try:
            yield
        finally:
            watcher.cancel()


@contextmanager
def store(mode: str, **options: object) -> Iterator[tuple[str, AnyServer | None, Path]]:
    """A store for one run: its URL, its server if it has one, its folder if it has one."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="quart-counter-faults-")))
        if mode in SERVERS:
            server = stack.enter_context(SERVERS[mode](**options))
            yield server.url, server, folder
        elif mode == "manager":
            yield stack.enter_context(private_manager()).url, None, folder
        else:
            yield {"lock": "memory:"}.get(mode, f"{mode}:{folder}/counters"), None, folder


@asynccontextmanager
async def rig(
    mode: str,
    *,
    seed: int = 0,
    workers: int = 2,
    line: bool = False,
    door: bool = False,
    timeout_s: float = 15.0,
    knows_workers: bool = False,
    server_options: dict[str, object] | None = None,
    query: str = "",
    **settings: object,
) -> AsyncIterator[Rig]:
    """Start all of it on free ports of the loopback, and leave nothing behind."""
    with store(mode, **(server_options or {})) as (url, server, folder):
        async with LateProxy(*_place(url), seed=seed) as proxy:
            given = {"url": (_through(proxy, url) if line else url) + query, "workers": workers}
            named = {"lab": knows_workers and mode != "lock"}
            ready = load_settings({}, bind="127.0.0.1:0", **{**given, **named, **settings})
            async with Service(ready) as service, FaultProxy(*_place(service.url), seed=seed + 1) as front:
                crowd = Crowd(f"http://{front.address}" if door else service.url, timeout_s=timeout_s)
                crowd.knows_workers = knows_workers
                try:
                    async with kept_going(crowd):
                        yield Rig(service, crowd, server, proxy if line else None, front if door else None, folder)
                finally:
                    crowd.close()
                    await asyncio.sleep(0)


def _place(url: str) -> tuple[str, int]:
    """Where a proxy would stand; of several servers it stands before none."""
    parts = urlsplit(url)
    return "127.0.0.1", (parts.port or 1) if "," not in parts.netloc else 1


def _through(proxy: LateProxy, url: str) -> str:
    parts = urlsplit(url)
    login = parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(netloc=f"{login}@{proxy.address}" if login else proxy.address))
