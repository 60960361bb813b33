"""A folder of counters: the files behind the store, their locks, and one step on them. Everything blocks.

Layout, for the counter `Tickets` (an upper-case letter is written +t: some file systems cannot tell T from t):

    +tickets.count         {"value": 7, "version": 7, "keys": {"<end>": bytes, …}, "born": "1f3a…"}
    +tickets.keys-<end>    idempotency key and record, a line each, until <end> (ms); only its first `bytes` count
    +tickets.lock          locked during a step; a file apart, because os.replace gives .count another inode
    +tickets.tmp           the next .count, until it replaces the last

So effect and key record become true in one moment, the replacement of the small .count, although the records are
appended to a file of their own: what lies beyond `bytes` there never happened, and the next step cuts it off.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Final, NamedTuple

from quart_counter.model import Change, NotApplied, Outcome, OutcomeUnknown, Reading, Record
from quart_counter.stores.base import Limits
from quart_counter.stores.ledger import Entry, post, record_to_text, wanted
from quart_counter.stores.shelf import Shelf, end_of_life, wall_ms

POLL_S: Final = 0.0005
SHELVES: Final = 256  # counters whose key records stay in memory; those of others are read again
FULL_SYNC: Final = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: fsync stops at the disk's own cache there


class Sheet(NamedTuple):
    """What a .count says: the reading, how many bytes count in each file of key records, by the ms it ends, and a word
    that tells this counter from one of the same name that was forgotten."""

    reading: Reading
    journals: Mapping[int, int]
    born: str


class Folder:
    """The files themselves. Everything blocks; one thread changes, another may read."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path, self._limits = path, limits
        self._is = os.stat(path)
        self._shelves: OrderedDict[str, tuple[Shelf, dict[int, int]]] = OrderedDict()  # by the word

    def apply(self, changes: Sequence[Change], deadline_s: float) -> list[Outcome]:
        """Carry out `changes` in order, counter by counter: one lock at a time, so no two can wait for each other."""
        outcomes: list[Outcome] = [NotApplied("the disk was busy until the deadline")] * len(changes)
        places_of: dict[str, list[int]] = {}
        for place, change in enumerate(changes):
            places_of.setdefault(change.name, []).append(place)
        queue, patience_s = deque(wanted(changes).items()), time.monotonic() + self._limits.store_timeout_s
        while queue and time.monotonic() < deadline_s:
            name, keys = queue.popleft()
            places = places_of[name]
            try:
                with self._holding(name):
                    answers = self._step(name, [changes[place] for place in places], keys)
            except BlockingIOError:
                if time.monotonic() < patience_s:
                    queue.append((name, keys))  # the others first
                    time.sleep(POLL_S)
                    continue
                answers = [NotApplied(f"another process holds the lock of {name}")] * len(places)
            except (OSError, ValueError) as error:
                answers = [NotApplied(words(error))] * len(places)
            for place, answer in zip(places, answers, strict=True):
                outcomes[place] = answer
        return self._on_disk(outcomes)

    def _on_disk(self, outcomes: list[Outcome]) -> list[Outcome]:
        """Make the replacements last; also those of a process that was killed before it did so."""
        try:
            sync_folder(self.path)
        except OSError as error:
            unknown = OutcomeUnknown(f"the disk failed after the change ({error})")
            return [one if isinstance(one, NotApplied) else unknown for one in outcomes]
        return outcomes

    def _step(self, name: str, changes: Sequence[Change], keys: Sequence[str]) -> list[Outcome]:
        now_ms, sheet = wall_ms(), self._load(name)
        sheet, old = sheet._replace(journals={end: n for end, n in sheet.journals.items() if end > now_ms}), sheet
        shelf = self._shelf(name, sheet) if keys else Shelf()
        outcomes, entries = post(changes, {name: shelf.page(sheet.reading, keys)}, self._limits.max_keys)
        if name in entries:
            self._save(name, sheet, entries[name], end_of_life(now_ms, self._limits.key_life_s))
            for end in old.journals.keys() - sheet.journals.keys():
                with suppress(OSError):
                    self._path(name, f"keys-{end}").unlink()
        return outcomes

    def _load(self, name: str) -> Sheet:
        path = self._path(name, "count")
        try:
            words = json.loads(path.read_bytes())
            journals = {int(end): size for end, size in words["keys"].items()}
            return Sheet(Reading(words["value"], words["version"]), journals, words["born"])
        except FileNotFoundError:
            if not os.path.samestat(os.stat(self.path), self._is):  # no counter is new in a disk that was taken away
                raise FileNotFoundError(f"{self.path} is another folder than at the start: start again") from None
            return Sheet(Reading(), {}, secrets.token_hex(8))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is not a counter's file: put it right or remove it") from error

    def _shelf(self, name: str, sheet: Sheet) -> Shelf:
        """Return the live key records; only what was appended since the last time is read."""
        shelf, known = self._shelves.pop(sheet.born, (Shelf(), {}))
        generations = {end: shelf.generations.get(end, {}) for end in sheet.journals}
        for end, size in sheet.journals.items():
            generations[end].update(self._records(name, end, known.get(end, 0), size))
        shelf = Shelf(generations)
        self._shelves[sheet.born] = shelf, dict(sheet.journals)
        if len(self._shelves) > SHELVES:
            self._shelves.popitem(last=False)
        return shelf

    def _records(self, name: str, end: int, start: int, size: int) -> dict[str, str]:
        if start == size:
            return {}
        path = self._path(name, f"keys-{end}")
        with path.open("rb") as file:
            file.seek(start)
            data = file.read(size - start)
        if len(data) < size - start:
            raise ValueError(f"{path} is shorter than its counter's file says: bring both back from one backup")
        return dict(line.split(" ", 1) for line in data.decode().splitlines())

    def _save(self, name: str, sheet: Sheet, entry: Entry, end: int) -> None:
        journals = dict(sheet.journals)
        if entry.records:
            journals[end] = self._append(name, end, journals.get(end, 0), entry.records)
        words = {**entry.reading._asdict(), "keys": journals, "born": sheet.born}
        with open(self._path(name, "tmp"), "wb", opener=private) as file:
            file.write(json.dumps(words).encode())
            file.flush()
            sync(file.fileno())
        os.replace(self._path(name, "tmp"), self._path(name, "count"))  # the effect; nothing below can undo it
        if entry.records:
            shelf, known = self._shelves[sheet.born]
            shelf.keep(end, entry.records)
            known[end] = journals[end]

    def _append(self, name: str, end: int, start: int, records: Mapping[str, Record]) -> int:
        """Write `records` behind the `start` bytes that count, and return how many are to count next."""
        lines = "".join(f"{key} {record_to_text(record)}\n" for key, record in records.items()).encode()
        with open(self._path(name, f"keys-{end}"), "ab", opener=private) as file:
            file.truncate(start)
            file.write(lines)
            file.flush()
            sync(file.fileno())
        if start == 0:
            sync_folder(self.path)  # a new file: its name must be on the disk before a .count speaks of it
        return start + len(lines)

    @contextmanager
    def _holding(self, name: str) -> Iterator[None]:
        """Hold the counter's lock. Raises BlockingIOError when somebody else does."""
        path = self._path(name, "lock")
        while True:
            lock = private(path, os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_still(path, lock):  # else `forget` took the file away: lock the one that stands there now
                    yield
                    return
            finally:
                os.close(lock)

    def read(self, name: str) -> Reading:
        """Return value and version of one moment; takes no lock, for the file is never half written."""
        return self._load(name).reading

    def read_many(self, names: Sequence[str]) -> list[Reading]:
        """Return a reading for each of `names`."""
        return [self.read(name) for name in names]

    def names(self, after: str, limit: int) -> list[str]:
        """Return at most `limit` names greater than `after`, in order; a file may hold no more than a refused key."""
        entries = (entry.name for entry in os.scandir(self.path))
        names = sorted(_decoded(entry.removesuffix(".count")) for entry in entries if entry.endswith(".count"))
        found: list[str] = []
        for name in names:
            if len(found) == limit:
                break
            if name > after and self.read(name).version:
                found.append(name)
        return found

    def forget(self, name: str) -> None:
        """Remove a counter's files, the .count first: without it the others mean nothing."""
        patience_s = time.monotonic() + self._limits.store_timeout_s
        while True:
            with suppress(BlockingIOError) if time.monotonic() < patience_s else nullcontext(), self._holding(name):
                ends = self._load(name).journals
                for suffix in ("count", *(f"keys-{end}" for end in ends), "tmp", "lock"):
                    self._path(name, suffix).unlink(missing_ok=True)
                break
            time.sleep(POLL_S)
        sync_folder(self.path)

    def _path(self, name: str, suffix: str) -> Path:
        return self.path / f"{_encoded(name)}.{suffix}"


def words(error: Exception) -> str:
    """Say in a sentence that a file is not there, or not right."""
    return f"the counter's file cannot be used ({error})"


def private(path: str | Path, flags: int) -> int:
    """Open a file, and make a new one for its user alone: who may read a .lock may hold it, and so stop the counter."""
    return os.open(path, flags, 0o600)


def _encoded(name: str) -> str:
    return re.sub("[A-Z]", lambda letter: "+" + letter[0].lower(), name)


def _decoded(name: str) -> str:
    return re.sub(r"\+(.)", lambda letter: letter[1].upper(), name)


def _is_still(path: Path, descriptor: int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    return False


def sync(descriptor: int) -> None:
    if FULL_SYNC is None:
        os.fsync(descriptor)
    else:
        fcntl.fcntl(descriptor, FULL_SYNC)


def sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)
