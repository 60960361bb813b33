"""A memcached of our own. It keeps nothing: stopped or killed, it comes back empty."""

import shutil
import signal
from collections.abc import Sequence

from quart_counter.local.process import LOOPBACK, LocalServer, Probe, ServerMissing, free_port

REMEDY = "no memcached on this machine: `apt-get install memcached` mends it"


def find() -> list[str]:
    """The command that runs memcached. Raises: ServerMissing."""
    program = shutil.which("memcached")
    if program is None:
        raise ServerMissing(REMEDY)
    return [program]


def private_memcached(*, extra_args: Sequence[str] = ()) -> LocalServer:
    """A memcached for one `with` block, ready in about 0.02 s."""
    port = free_port()
    return LocalServer(
        "memcached",
        [*find(), "-l", LOOPBACK, "-p", str(port), "-U", "0", *extra_args],
        url=f"memcached://{LOOPBACK}:{port}",
        probe=Probe(port, b"version\r\n", b"VERSION"),
        stop_signal=signal.SIGKILL,  # it keeps nothing, and at SIGTERM takes a second to notice
        unprivileged=True,
    )
