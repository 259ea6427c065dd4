"""The ledger of one run: which custom ids came by, and which lines are recorded. On disk, so memory stays flat."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable

CACHE_KIB = 16 * 1024
"""What SQLite keeps in memory; the rest spills into its temporary file."""


class Ledger:
    """Two tables in a private temporary database that vanishes with the process, however it ends.

    Ids are kept as 64-bit hashes: with a million lines, the odds that two different ids are taken for one are
    about 1 to 37 million. May move between threads, but only one may use it at a time.
    """

    def __init__(self) -> None:
        self.last_recorded = 0
        """The highest recorded line number."""
        # "" is a temporary database on disk; sqlite3 is told not to commit, there is nothing to keep.
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        self._db.execute("CREATE TABLE seen (id_hash INTEGER PRIMARY KEY)")
        self._db.execute("CREATE TABLE recorded (line INTEGER PRIMARY KEY, id_hash INTEGER NOT NULL)")
        self._db.execute("BEGIN")

    def note_recorded(self, lines: Iterable[tuple[int, str]]) -> None:
        """Remember recorded lines: (number, custom id)."""

        def rows() -> Iterable[tuple[int, int]]:
            for number, custom_id in lines:
                self.last_recorded = max(self.last_recorded, number)
                yield number, id_hash(custom_id)

        self._db.executemany("INSERT OR IGNORE INTO recorded VALUES (?, ?)", rows())

    def recorded_hash(self, number: int) -> int | None:
        """The hash of the custom id that the line was recorded under; None when it is not recorded."""
        if number > self.last_recorded:
            return None
        row = self._db.execute("SELECT id_hash FROM recorded WHERE line = ?", (number,)).fetchone()
        return int(row[0]) if row else None

    def is_first(self, custom_id: str) -> bool:
        """Whether this custom id comes by for the first time."""
        cursor = self._db.execute("INSERT OR IGNORE INTO seen VALUES (?)", (id_hash(custom_id),))
        return cursor.rowcount == 1

    def close(self) -> None:
        """Drop the database."""
        self._db.close()


def id_hash(custom_id: str) -> int:
    """A custom id as a signed 64-bit number, SQLite's largest."""
    digest = hashlib.blake2b(custom_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)
