"""A MariaDB of our own, with a database and two users: root without a password, and an ordinary one with."""

import shutil
from collections.abc import Sequence

from quart_counter.local.process import LOOPBACK, LocalServer, Probe, ServerMissing, free_port

REMEDY = "no MariaDB on this machine: `apt-get install mariadb-server` mends it"
DATABASE = "quart_counter"
USER = PASSWORD = "counter"
SQL = f"""\
CREATE DATABASE IF NOT EXISTS {DATABASE} CHARACTER SET utf8mb4;
CREATE USER IF NOT EXISTS '{USER}'@'{LOOPBACK}' IDENTIFIED BY '{PASSWORD}';
GRANT ALL ON {DATABASE}.* TO '{USER}'@'{LOOPBACK}';
"""


def find() -> list[str]:
    """The programs `mariadbd` and `mariadb-install-db`. Raises: ServerMissing."""
    server, installer = _which("mariadbd"), _which("mariadb-install-db")
    if server is None or installer is None:
        raise ServerMissing(REMEDY)
    return [server, installer]


def private_mariadb(*, fsync: bool = True, extra_args: Sequence[str] = ()) -> LocalServer:
    """A MariaDB for one `with` block, ready in about 1 s; `.url` is root's, without a password, from this machine only.

    `mysql://counter:counter@127.0.0.1:PORT/quart_counter` is the same database with an ordinary user's rights.
    With `fsync` an answered commit is on the disk; without, a power cut may take it back.
    """
    server, installer = find()
    port = free_port()
    # temporary tables in the data folder: in a folder they share, servers set up together drop each other's
    folders = ("--no-defaults", "--datadir=./data", "--tmpdir=.")
    install = [*folders, "--auth-root-authentication-method=normal", "--skip-test-db"]
    command = [
        # once started it looks from its data folder: the last four paths lie in there
        *(server, *folders, "--socket=socket", "--pid-file=pid", "--init-file=init.sql"),
        *(f"--port={port}", f"--bind-address={LOOPBACK}"),
        "--skip-name-resolve",  # by address: no DNS, and no host is ever blocked for breaking off its handshakes
        *("--innodb-buffer-pool-size=32M", "--innodb-log-file-size=8M", "--performance-schema=OFF"),
        f"--innodb-flush-log-at-trx-commit={1 if fsync else 0}",
        *extra_args,
    ]
    return LocalServer(
        "mariadb",
        command,
        url=f"mysql://root@{LOOPBACK}:{port}/{DATABASE}",
        # it speaks first: a packet header of four bytes, then the protocol's version, 10 (255 would be an error)
        probe=Probe(port, b"", rb"....\n"),
        setup=[[installer, *install], ["/bin/sh", "-c", 'printf %s "$1" > data/init.sql', "sh", SQL]],
        unprivileged=True,
    )


def _which(program: str) -> str | None:
    # Debian keeps the server where only root's PATH looks
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
