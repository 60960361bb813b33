"""Runs any of the servers: start, wait until it answers, stop or kill, start again, leave nothing behind.

Everything blocks, for as short a time as the server allows; a coroutine says `await asyncio.to_thread(server.start)`.
"""

import os
import random
import re
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from quart_counter.errors import ConfigurationError
from quart_counter.local.folder import PrivateFolder, unprivileged_account

LOOPBACK = "127.0.0.1"
# Below the range from which a kernel picks the near end of a connection. A client that knocks on a dead server's port
# inside that range is sooner or later given the same port and connects to itself; the server then cannot come back.
PORTS = range(20_000, 32_000)
SETUP_TIMEOUT_S = 60.0
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
ATTEMPTS = 5
PAUSE_S = 0.1
POLL_S = 0.005
LAST_WORDS = 15


class ServerMissing(ConfigurationError):
    """The server is not on this machine; the sentence carries the command that mends it."""


class ServerFailed(ConfigurationError):
    """The server is here and does not run; the sentence quotes its last words."""


@dataclass(frozen=True)
class Probe:
    """Ready means: on `port`, the question `ask` is answered by bytes that begin like the pattern `answer`."""

    port: int
    ask: bytes
    answer: bytes
    tls: ssl.SSLContext | None = None

    def passes(self) -> bool:
        try:
            with connected(self.port, 1.0, self.tls) as connection:
                connection.sendall(self.ask)
                return re.match(self.answer, connection.recv(512), re.DOTALL) is not None
        except OSError:
            return False


@contextmanager
def connected(port: int, timeout_s: float, tls: ssl.SSLContext | None) -> Iterator[socket.socket]:
    """A connection to `port` for the block, with TLS if there is any. Raises OSError."""
    with socket.create_connection((LOOPBACK, port), timeout=timeout_s) as plain:
        if tls is None:
            yield plain
            return
        with tls.wrap_socket(plain, server_hostname=LOOPBACK) as wrapped:
            yield wrapped


class LocalServer:
    """A server of our own, from `with` to the end of the block; nothing of it outlives the block or our process.

    Commands run in the private folder, so their paths are relative. `setup` runs once, before the first start;
    `farewell`, a line of shell, at the very end, for what a killed server leaves outside its folder.
    `unprivileged` servers refuse to be root: where we are root they run as nobody.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        url: str,
        probe: Probe,
        setup: Sequence[Sequence[str]] = (),
        farewell: str = "",
        stop_signal: signal.Signals = signal.SIGTERM,
        unprivileged: bool = False,
    ) -> None:
        self.name = name
        self.url = url
        self._command = command
        self._probe = probe
        self._setup = setup
        self._farewell = farewell
        self._stop_signal = stop_signal
        self._account = unprivileged_account() if unprivileged else None
        self._folder: PrivateFolder
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._folder = PrivateFolder(self.name, self._account, self._farewell)
        try:
            for step in self._setup:
                self._run(step)
            self.start()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            self._close()

    @property
    def pid(self) -> int:
        """The server's process id; another one after every start."""
        if self._process is None:
            raise ServerFailed(f"{self.name} has no process id: it is stopped, call start()")
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended since."""
        return self._process is not None and self._process.poll() is None

    @property
    def folder(self) -> Path:
        """Its private folder, where its data lies; gone after the block."""
        return self._folder.path

    @property
    def version(self) -> str:
        """What the program says about itself, such as "Redis server v=7.0.15 …"."""
        asked = subprocess.run([self._command[0], "--version"], capture_output=True, text=True, check=True)
        return asked.stdout.strip()

    def start(self) -> None:
        """Start on the same port and folder as before and return when it answers; no effect while it runs.

        Tried again a few times: what a killed server held (a shared memory block) is busy for a moment.
        """
        for _ in range(ATTEMPTS):
            if self.runs or self._try_start():
                return
            time.sleep(PAUSE_S)
        raise self._failure("did not start")

    def stop(self) -> None:
        """Ask it to end in good order; what is still there after ten seconds is killed."""
        self._end(self._stop_signal)

    def kill(self, by: signal.Signals = signal.SIGKILL) -> None:
        """End it as a crash would, its children too; return when it is gone."""
        self._end(by)

    def _try_start(self) -> bool:
        """True when it answers, False when it ended before it did."""
        if self._probe.passes():
            raise ServerFailed(f"{self.name} did not start: another server answers on its port {self._probe.port}")
        deadline = time.monotonic() + START_TIMEOUT_S
        process = self._spawn(self._command)
        while process.poll() is None:
            if self._probe.passes():
                return True
            if time.monotonic() > deadline:
                raise self._failure(f"did not answer within {START_TIMEOUT_S:.0f} s")
            time.sleep(POLL_S)
        return False

    def _run(self, step: Sequence[str]) -> None:
        status = self._spawn(step).wait(SETUP_TIMEOUT_S)
        if status != 0:
            raise self._failure(f"could not be set up: {step[0]} ended with status {status}")

    def _spawn(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        account = self._account
        self._log().unlink(missing_ok=True)  # a failure quotes the last start only
        with self._log().open("wb") as log:
            try:
                self._process = subprocess.Popen(
                    command,
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # a group of its own: out of reach of the terminal's Ctrl-C, killed as one
                    user=account and account.pw_uid,
                    group=account and account.pw_gid,
                    extra_groups=account and [],
                )
            except OSError as error:
                who = "this user" if account is None else f"the user {account.pw_name!r}"
                raise ServerFailed(f"{self.name} cannot be started by {who}: {command[0]}: {error.strerror}") from error
        self._folder.guard(self._process.pid)
        return self._process

    def _log(self) -> Path:
        return self.folder / "log"

    def _end(self, by: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            os.killpg(process.pid, by)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._folder.guard(None)

    def _close(self) -> None:
        self.kill()
        self._folder.close()

    def _failure(self, what: str) -> ServerFailed:
        words = self._log().read_text(errors="replace").splitlines()[-LAST_WORDS:]
        return ServerFailed("\n  ".join([f"{self.name} {what}. The end of its log:", *words]))


@contextmanager
def together(servers: Iterable[LocalServer]) -> Iterator[None]:
    """Run all of them to the end of the block; if one does not start, those before it end as well."""
    with ExitStack() as stack:
        for server in servers:
            stack.enter_context(server)
        yield


def free_ports(count: int) -> list[int]:
    """So many ports on the loopback that nobody listens on, no two alike."""
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return list(found)


def free_port() -> int:
    """A port on the loopback that nobody listens on."""
    for port in random.sample(PORTS, k=100):
        with socket.socket() as candidate:
            # as the servers do: a port that is merely in TIME_WAIT is free
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise ServerFailed(f"no free port: 100 ports tried between {PORTS.start} and {PORTS.stop}")
