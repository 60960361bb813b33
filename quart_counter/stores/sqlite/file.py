"""The file behind the store: one connection that changes it, one that reads, and a flush in SQLite's own SQL.

Everything blocks. Two processes on one file take turns by SQLite's own lock, which a killed process leaves behind at
once.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from quart_counter.errors import ConfigurationError
from quart_counter.model import Change, NotApplied, Outcome, OutcomeUnknown, Reading
from quart_counter.stores.base import Limits
from quart_counter.stores.ledger import wanted
from quart_counter.stores.shelf import wall_ms
from quart_counter.stores.sql import SWEEP, Loaded, decide

LAYOUT: Final = 1
APPLICATION: Final = 0x51436E74  # "QCnt"; `file counters.db` prints it
SCHEMA: Final = files("quart_counter.stores.sqlite").joinpath("schema.sql").read_text()
NAP_S: Final = 0.001
PRIVATE: Final = 0o600
ENDED: Final = "SELECT name, key FROM keys WHERE expires_ms <= ? LIMIT ?"
FORGET: Final = "DELETE FROM keys WHERE name = ? AND key = ?"
# A counter that was never begun holds only keys, and goes with the last of them: made-up names fill up nothing.
FORGET_UNBEGUN: Final = (
    "DELETE FROM counters WHERE name = ? AND version = 0 AND NOT EXISTS (SELECT 1 FROM keys WHERE name = ?)"
)

# WAL costs one fsync a commit, a rollback journal three. But before 3.51.3 two writers that reset the WAL at one moment
# can corrupt the file (sqlite.org/wal.html, "the WAL-reset bug"), and several workers are several writers. TRUNCATE,
# for with synchronous=FULL it also syncs the journal's end, the moment of commit; DELETE leaves that to the folder.
JOURNAL: Final[Literal["wal", "truncate"]] = "wal" if sqlite3.sqlite_version_info >= (3, 51, 3) else "truncate"

Answer = TypeVar("Answer")

_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_UNDONE: Final = _BUSY | {sqlite3.SQLITE_FULL}  # a COMMIT that fails like this is rolled back; of others nobody knows


class Writer:
    """The blocking half that changes the file; every method runs in the writer's thread."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path, self._limits = path, limits
        self._db: sqlite3.Connection | None = None

    def open(self) -> None:
        """Connect, and create the layout if the file is new; safe when several workers do so at once."""
        until = time.monotonic() + self._limits.deadline_s
        db = self._connected(until)
        _patiently(lambda: db.execute("BEGIN IMMEDIATE"), until)
        if not _is_ours(db, self._path):
            for statement in SCHEMA.split(";\n"):
                db.execute(statement)
        _patiently(lambda: db.execute("COMMIT"), until)

    def flush(self, changes: Sequence[Change], until: float) -> Sequence[Outcome]:
        """Carry out `changes` in one transaction; wait for other processes until `until` at most."""
        try:
            db = self._connected(until)
            _patiently(lambda: db.execute("BEGIN IMMEDIATE"), until)  # a plain BEGIN cannot wait once it has read
            outcomes = _carry_out(db, changes, self._limits)
        except (sqlite3.Error, ConfigurationError) as error:
            self.close()
            return [NotApplied(_words(error))] * len(changes)
        try:
            _patiently(lambda: db.execute("COMMIT"), until)
        except sqlite3.Error as error:
            self.close()
            made = NotApplied if _code(error) in _UNDONE else OutcomeUnknown
            return [made(_words(error))] * len(changes)
        return outcomes

    def forget(self, name: str, until: float) -> None:
        """Remove a counter and its keys."""
        db = self._connected(until)
        try:
            _patiently(lambda: db.execute("BEGIN IMMEDIATE"), until)
            db.execute("DELETE FROM counters WHERE name = ?", (name,))
            db.execute("DELETE FROM keys WHERE name = ?", (name,))
            _patiently(lambda: db.execute("COMMIT"), until)
        except sqlite3.Error:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; what it had begun is rolled back. The next flush connects anew."""
        db, self._db = self._db, None
        if db is not None:
            db.close()

    def _connected(self, until: float) -> sqlite3.Connection:
        if self._db is None:
            _create(self._path)
            # No busy timeout: SQLite's own naps grow to 0.1 s, and so lose every race with a busy process.
            self._db = db = sqlite3.connect(self._path, timeout=0, isolation_level=None)
            _patiently(lambda: _is_ours(db, self._path), until)  # before anything that would change a stranger's file
            _patiently(lambda: _set_journal(db), until)
        return self._db


class Reader:
    """The blocking half that reads; every method runs in the reader's thread."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path, self._limits = path, limits
        self._db: sqlite3.Connection | None = None

    def read(self, name: str) -> Reading:
        """Return value and version of one moment."""
        rows = self._ask("SELECT value, version FROM counters WHERE name = ?", name)
        return Reading(*rows[0]) if rows else Reading()

    def read_many(self, names: Sequence[str]) -> list[Reading]:
        """Return a reading for each of `names`, all of one moment."""
        asked = "SELECT value FROM json_each(?)"  # for a statement takes a bounded number of parameters
        question = f"SELECT name, value, version FROM counters WHERE name IN ({asked})"
        found = {name: Reading(*reading) for name, *reading in self._ask(question, json.dumps(names))}
        return [found.get(name, Reading()) for name in names]

    def names(self, after: str, limit: int) -> Sequence[str]:
        """Return at most `limit` names greater than `after`, in order."""
        question = "SELECT name FROM counters WHERE name > ? AND version > 0 ORDER BY name LIMIT ?"
        return [name for (name,) in self._ask(question, after, limit)]

    def _ask(self, question: str, *values: str | int) -> list[tuple[Any, ...]]:
        until = time.monotonic() + self._limits.store_timeout_s
        return _patiently(lambda: self._connected().execute(question, values).fetchall(), until)

    def close(self) -> None:
        """Close the connection."""
        if self._db is not None:
            self._db.close()

    def _connected(self) -> sqlite3.Connection:
        if self._db is None:
            self._db = sqlite3.connect(self._path, timeout=0, isolation_level=None)  # as in Writer, and for its reason
        return self._db


def _create(path: Path) -> None:
    """Make a file that is for its user alone, if it is missing: who may read it may lock it, and hold up all changes.

    Of a file that is there no descriptor is ever closed: that would drop the locks that this process has on it.
    """
    with suppress(OSError):  # there already, or SQLite says it better
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, PRIVATE))


def _carry_out(db: sqlite3.Connection, changes: Sequence[Change], limits: Limits) -> Sequence[Outcome]:
    """Load, run the model, write; inside a transaction."""
    outcomes, rows, _ = decide(changes, _load(db, wanted(changes)), limits)
    db.executemany("REPLACE INTO counters VALUES (?, ?, ?, ?, ?, ?)", rows.counters)
    db.executemany("REPLACE INTO keys VALUES (?, ?, ?, ?)", rows.keys)
    if rows.keys:
        _sweep(db)
    return outcomes


def _sweep(db: sqlite3.Connection) -> None:
    """Delete some of the keys whose time is over."""
    ended = db.execute(ENDED, (wall_ms(), SWEEP)).fetchall()
    db.executemany(FORGET, ended)
    db.executemany(FORGET_UNBEGUN, [(name, name) for name in sorted({name for name, _ in ended})])


def _load(db: sqlite3.Connection, names: Mapping[str, Sequence[str]]) -> Loaded:
    now_ms = wall_ms()
    one_counter = "SELECT name, value, version, generation, newer, older FROM counters WHERE name = ?"
    one_key = "SELECT name, key, record FROM keys WHERE name = ? AND key = ? AND expires_ms > ?"
    counters = [row for name in names for row in db.execute(one_counter, (name,))]
    keys = [row for name, asked in names.items() for key in asked for row in db.execute(one_key, (name, key, now_ms))]
    return Loaded(now_ms, counters, keys)


def _is_ours(db: sqlite3.Connection, path: Path) -> bool:
    """True for a file of ours, False for an empty one. Raises ConfigurationError for any other."""
    (application,), (layout,) = (db.execute(f"PRAGMA {mark}").fetchone() for mark in ("application_id", "user_version"))
    if (application, layout) == (APPLICATION, LAYOUT):
        return True
    if application == APPLICATION:
        raise ConfigurationError(
            f"{path} has layout {layout}, and this version of quart-counter knows {LAYOUT}: name another file"
        )
    if application or layout or db.execute("SELECT 1 FROM sqlite_master").fetchone():
        raise ConfigurationError(f"{path} is a SQLite database of another program: name another file")
    return False


def _set_journal(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA synchronous = FULL")
    (mode,) = db.execute(f"PRAGMA journal_mode = {JOURNAL}").fetchone()
    if mode != JOURNAL:
        raise sqlite3.OperationalError(f"another program keeps it in journal mode {mode}")


def _patiently(step: Callable[[], Answer], until: float) -> Answer:
    """Try `step` again and again while other processes hold the lock, until `until`."""
    while True:
        try:
            return step()
        except sqlite3.OperationalError as error:
            if _code(error) not in _BUSY or time.monotonic() >= until:
                raise
        time.sleep(NAP_S)


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary code; the rest tells kinds of it apart


def _words(error: Exception) -> str:
    return f"SQLite could not write it ({error})"
