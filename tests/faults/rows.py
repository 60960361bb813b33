"""The table of issue 5: every row by name, with the short size of CI and the full one."""

import signal
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple

from faults import rows_failover, rows_kill, rows_line
from faults.naive import naive
from faults.table import Result, Size


class Row(NamedTuple):
    promise: str
    run: Callable[[Size, int], Awaitable[Result]]
    short: Size
    full: Size
    must_hold: bool = True  # else what it loses is only reported
    in_ci: bool = True  # else only in the long run: the same promise, kept by one more store


STORES = ("redis", "lock", "sqlite", "postgres", "mysql", "memcached", "manager", "file")
SEVERAL = ("cluster", "sentinel")
LINED = ("redis", "postgres", "mysql", "memcached")

ROWS: dict[str, Row] = {
    **{
        f"healthy-{mode}": Row(
            "nothing breaks: 0 lost, 0 duplicated, 0 out of order",
            partial(rows_line.healthy, mode),
            Size(600),
            Size(1_000_000 if mode == "redis" else 200_000),
        )
        for mode in STORES
    },
    **{
        f"take-{mode}": Row(
            "1,000 clients reach for 100 seats at once: exactly 100 get one",
            partial(rows_line.take, mode),
            Size(200),
            Size(1_000),
            in_ci=mode == "redis",
        )
        for mode in STORES
    },
    **{
        f"kill-worker-{mode}": Row(
            "a worker's kill -9 loses and repeats nothing, hits no other worker, is mended in 3 s",
            partial(rows_kill.worker_kill, mode),
            Size(600, 2),
            Size(300_000, 300),
            in_ci=mode == "redis",
        )
        for mode in STORES
        if mode != "lock"  # whose numbers die with their worker; `serve` says so and ends
    },
    "rolling-redis": Row(
        "SIGTERM, worker by worker: no request in flight fails",
        partial(rows_kill.rolling, "redis"),
        Size(600, 2),
        Size(50_000, 100),
    ),
    "kill-store-redis-always": Row(
        "Redis dies by kill -9 and restarts, appendfsync always: 0 lost, 0 duplicated",
        partial(rows_kill.server_kill, "redis", appendonly="always"),
        Size(600, 3),
        Size(50_000, 100),
    ),
    "kill-store-redis-everysec": Row(
        "the same with everysec, what is lost is reported",
        partial(rows_kill.server_kill, "redis", appendonly="everysec"),
        Size(600, 3),
        Size(50_000, 100),
        must_hold=False,
    ),
    "kill-store-postgres": Row(
        "PostgreSQL's immediate stop: 0 lost, 0 duplicated",
        partial(rows_kill.server_kill, "postgres", how=signal.SIGQUIT),
        Size(400, 2),
        Size(50_000, 100),
    ),
    "kill-store-mysql": Row(
        "MariaDB dies by kill -9: 0 lost, 0 duplicated",
        partial(rows_kill.server_kill, "mysql"),
        Size(400, 1),
        Size(50_000, 100),
    ),
    **{
        f"pause-{whom}-{mode}": Row(
            f"a {whom} that stands still beyond every deadline and goes on: 0 lost, 0 duplicated",
            partial(rows_kill.pause, mode, whom),
            Size(300, 1),
            Size(10_000, 10),
            in_ci=False,
        )
        for whom, modes in (("worker", STORES), ("store", LINED))
        for mode in modes
        if mode != "lock"
    },
    "kill-sqlite-mid-commit": Row(
        "all workers die in a SQLite commit: 0 lost, 0 duplicated, integrity_check ok",
        rows_kill.sqlite_kill,
        Size(400, 2),
        Size(50_000, 100),
    ),
    **{
        f"line-store-{mode}": Row(
            "lost replies, resets and stalls between app and store: 0 lost, 0 duplicated",
            partial(rows_line.lost_at_store, mode),
            Size(600, 20),
            Size(200_000, 2_000),
            in_ci=mode in ("redis", "postgres"),
        )
        for mode in LINED
    },
    "line-client-redis": Row(
        "the same between clients and app: 0 lost, 0 duplicated",
        partial(rows_line.lost_at_client, "redis"),
        Size(800, 60),
        Size(200_000, 2_000),
    ),
    **{
        f"copies-{mode}": Row(
            "a key sent one to five times, at once on two workers, counts once",
            partial(rows_line.copies, mode),
            Size(300),
            Size(100_000),
            in_ci=mode == "redis",
        )
        for mode in STORES
    },
    **{
        f"disconnects-{mode}": Row(
            "clients that leave at any byte: the count is bounded, exact after replay, no store reconnects",
            partial(rows_line.disconnects, mode),
            Size(0, 400),
            Size(0, 50_000),
            in_ci=mode == "redis",
        )
        for mode in LINED
    },
}
ROWS |= {
    **{
        f"healthy-{kind}": Row(
            f"nothing breaks, on a Redis {kind}: 0 lost, 0 duplicated, 0 out of order",
            partial(rows_line.healthy, kind),
            Size(600),
            Size(200_000),
            in_ci=False,
        )
        for kind in SEVERAL
    },
    **{
        f"kill-worker-{kind}": Row(
            f"the same on a Redis {kind}",
            partial(rows_kill.worker_kill, kind),
            Size(600, 1),
            Size(300_000, 300),
        )
        for kind in SEVERAL
    },
    **{
        f"two-hosts-{mode}": Row(
            "two services on ports of their own share a database, and one loses all workers: 0 lost, 0 duplicated",
            partial(rows_failover.two_hosts, mode),
            Size(600, 1),
            Size(50_000, 50),
            in_ci=mode == "postgres",
        )
        for mode in ("postgres", "redis", "cluster")
    },
    **{
        f"{'cut-' if cut else ''}failover-{kind}-{setting}": Row(
            "kill -9 of a primary; what its replica had not got is reported as lost",
            partial(rows_failover.failover, kind, setting, cut),
            Size(300, 1),
            Size(2_000, 20),
            must_hold=False,
            in_ci=False,  # two of them have a test of their own
        )
        for kind in SEVERAL
        for cut in (False, True)
        for setting in rows_failover.settings_of(kind)
    },
    **{
        f"price-{kind}-{setting}": Row(
            "nothing breaks: exact, and how fast with these settings",
            partial(rows_failover.price, kind, setting),
            Size(600),
            Size(20_000),
            in_ci=False,
        )
        for kind in SEVERAL
        for setting in rows_failover.settings_of(kind)
    },
}
CONTRAST = {"naive-incr": Row("what people write instead", naive, Size(500, 100), Size(20_000, 2_000), must_hold=False)}
