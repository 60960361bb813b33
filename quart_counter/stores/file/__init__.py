"""Counters in plain files, one a counter: the "filesystem cache" answer done right.

Atomic across the processes of one host: a step runs under a lock of the kernel (flock) that dies with its holder, and
its effect is one `os.replace`: who reads, or comes after a kill -9 or a power cut, finds the old file or the new one.

How it lies on the disk is told in `folder.py`.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from quart_counter.errors import ConfigurationError
from quart_counter.model import Change, Outcome, Reading
from quart_counter.stores.base import Guarantees, Limits, StoreAway, outcome_of, path_of
from quart_counter.stores.file.folder import Folder, private, sync, sync_folder, words
from quart_counter.stores.thread import Thread

Answer = TypeVar("Answer")
REMOTE: Final = ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs")
IN_MEMORY: Final = ("tmpfs", "ramfs")


class FileStore:
    """Counters shared by every process of this host that opens the same folder."""

    def __init__(self, folder: Folder, limits: Limits, guarantees: Guarantees) -> None:
        self.guarantees = guarantees
        self._folder, self._limits = folder, limits
        self._writer = Thread("quart-counter-file", "the store's folder")
        self._reader = Thread("quart-counter-file-read", "the store's folder")

    async def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        """Carry out `changes` in order; a caller that goes away stops what has not begun, and nothing else."""
        deadline_s = time.monotonic() + self._limits.deadline_s
        patience_s = self._limits.deadline_s + self._limits.store_timeout_s  # the folder itself keeps the deadline
        try:
            return await self._writer.run(partial(self._folder.apply, changes, deadline_s), patience_s)
        except StoreAway as away:
            return [outcome_of(away)] * len(changes)

    async def read(self, name: str) -> Reading:
        """Return value and version of one moment, without waiting for a flush."""
        return await self._ask(self._reader, partial(self._folder.read, name), self._limits.store_timeout_s)

    async def read_many(self, names: Sequence[str]) -> Sequence[Reading]:
        """Return a reading for each of `names`, each of one moment."""
        job = partial(self._folder.read_many, names)
        return await self._ask(self._reader, job, self._limits.deadline_s)

    async def names(self, after: str = "", limit: int = 1000) -> Sequence[str]:
        """Return at most `limit` names greater than `after`, in order."""
        return await self._ask(self._reader, partial(self._folder.names, after, limit), self._limits.deadline_s)

    async def forget(self, name: str) -> None:
        """Remove a counter and its keys."""
        await self._ask(self._writer, partial(self._folder.forget, name), self._limits.deadline_s)

    async def _ask(self, thread: Thread, job: Callable[[], Answer], timeout_s: float) -> Answer:
        answer = await thread.run(partial(_answer, job), timeout_s)
        if isinstance(answer, StoreAway):
            raise answer
        return answer

    async def aclose(self) -> None:
        """Let both threads finish what they began."""
        for thread in (self._writer, self._reader):
            await thread.aclose(lambda: None, self._limits.store_timeout_s)


def _answer(job: Callable[[], Answer]) -> Answer | StoreAway:
    """Return what went wrong instead of raising it: a caller that left does not collect what its job raises."""
    try:
        return job()
    except (OSError, ValueError) as error:
        return StoreAway(words(error))


def _prepared(path: Path) -> Path:
    """Make the folder if it is missing, and do in it once all that a step does. Raises ConfigurationError."""
    try:
        if not path.exists():
            path.mkdir(0o700, exist_ok=True)
            sync_folder(path.parent)
        probe = path / f".probe-{os.getpid()}"
        with open(probe, "wb", opener=private) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            sync(file.fileno())
        os.replace(probe, path / ".probe")
        sync_folder(path)
        return path.absolute()
    except OSError as error:
        raise ConfigurationError(
            f"the folder {path} cannot keep counters ({error.strerror}): name one that this user may write to, "
            "in a folder that exists, with --url file:FOLDER"
        ) from error


def _file_system(path: Path) -> str:
    """Return the type of file system that `path` lies on, where the kernel says so (Linux); else nothing."""
    with suppress(OSError, ValueError):
        mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
        above = {str(one) for one in (path.resolve(), *path.resolve().parents)}
        return max((len(point), kind) for point, kind in mounts if point in above)[1]
    return ""


def _guarantees(path: Path) -> Guarantees:
    system = _file_system(path)
    if system in REMOTE:
        raise ConfigurationError(
            f"{path} lies on {system}, where a lock does not hold between hosts: name a folder on a disk of this host, "
            "or use --mode redis"
        )
    lost = f"{system} lives in memory: a power cut or a restart of the host forgets all; name a folder on a disk"
    return Guarantees(
        scope="host",
        atomic=True,
        durable="crash" if system in IN_MEMORY else "power_loss",
        exactly_once=True,
        versioned=True,
        gapless=True,
        notes=(lost,) if system in IN_MEMORY else ("a flush pays a trip to the disk for every counter in it",),
        server=system,
    )


@asynccontextmanager
async def open_store(url: str, limits: Limits) -> AsyncIterator[FileStore]:
    """Open the folder that `file:FOLDER` names; make it if it is missing. Raises ConfigurationError."""
    where = path_of(url)
    if not where.strip("/"):
        raise ConfigurationError("file: needs a folder: for example --url file:counters")
    path = _prepared(Path(where))
    store = FileStore(Folder(path, limits), limits, _guarantees(path))
    async with aclosing(store):
        yield store
