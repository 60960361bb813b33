"""Waiting for several Redis servers to agree; they send us no event, so they are asked again and again."""

import ssl
import time
from collections.abc import Callable, Sequence
from functools import partial

from quart_counter.local.process import ServerFailed
from quart_counter.local.redis.resp import ask, fields

PATIENCE_S = 60.0
POLL_S = 0.02
MORE_THAN_THERE_ARE = 99  # replicas: WAIT for so many asks all of them, through the stream of changes


def until(true: Callable[[], bool], trouble: str) -> None:
    """Return when it is true; a server that does not answer makes it false. Raises ServerFailed with `trouble`."""
    deadline = time.monotonic() + PATIENCE_S
    while not _holds(true):
        if time.monotonic() > deadline:
            raise ServerFailed(f"{trouble} within {PATIENCE_S:.0f} s")
        time.sleep(POLL_S)


def until_in_step(ports: Sequence[int], tls: ssl.SSLContext | None) -> None:
    """Return when every replica has what its primary had when we asked.

    A link that is up is not enough: a primary sends what was written since a full synchronisation began up to a second
    after its end. So each is given something new to send, and its replica must have that.
    """
    for port in ports:
        if fields(port, "INFO", "replication", tls=tls)["role"] == "master":
            ask(port, "WAIT", MORE_THAN_THERE_ARE, 1, tls=tls)
    told = {port: fields(port, "INFO", "replication", tls=tls) for port in ports}
    goal = {port: int(one["master_repl_offset"]) for port, one in told.items() if one["role"] == "master"}
    for port, one in told.items():
        if one["role"] == "slave":
            until(partial(_has, port, goal[int(one["master_port"])], tls), "a replica did not catch up")


def _has(replica: int, offset: int, tls: ssl.SSLContext | None) -> bool:
    return int(fields(replica, "INFO", "replication", tls=tls).get("slave_repl_offset", -1)) >= offset


def _holds(true: Callable[[], bool]) -> bool:
    try:
        return true()
    except (OSError, ServerFailed):  # it is away, or loading
        return False
