"""The spool: answers on disk from the moment they are here until the store has them.

Optional (`[worker] spool_dir`). Without it an answer that is paid for lives in memory until it is settled, and a
worker that is killed before that takes it along: the job is called again. With it the next worker on this machine
settles it instead; the store accepts a late answer of an unfinished job once, and drops it as stale otherwise.

Files are locked while their process lives, so that nobody else recovers what is still being settled.
"""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import orjson

from shared.errors import ConfigError
from shared.store.grants import Grant, Outcome

log = logging.getLogger(__name__)

SUFFIX = ".spool"

SEGMENT_BYTES = 16 * 1024 * 1024
"""A file is not written any further when it is so large; it goes with the last of its answers."""


class _Segment:
    """One file, and how many of its answers the store does not have yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Under another name until it is locked: a worker that starts now must not take it for left behind.
        unlocked = path.with_suffix(".new")
        unlocked.touch(mode=0o600, exist_ok=False)  # for the owner's eyes only: answers are people's data
        self.file = unlocked.open("wb", buffering=0)
        fcntl.flock(self.file, fcntl.LOCK_EX)
        unlocked.rename(path)
        self.unsettled = 0

    def end(self) -> None:
        """Close it; it is removed unless the store lacks some of its answers."""
        if not self.unsettled:
            self.path.unlink(missing_ok=True)
        self.file.close()


class Spool:
    """The spool of this process.

    Args:
        folder: Made if it is not there.
        name: The worker's name.

    Raises:
        ConfigError: The folder cannot be used.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name, self._files = folder, name, 0
        self._segment_of: dict[str, _Segment] = {}
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._current = self._open_segment()
        except OSError as exc:
            raise ConfigError(f"worker.spool_dir: {folder} cannot be written: {exc.strerror}") from None

    def _open_segment(self) -> _Segment:
        self._files += 1
        return _Segment(self._folder / f"{self._name}-{self._files}{SUFFIX}")

    def put(self, outcome: Outcome) -> None:
        """Write an answer down: from now on a kill of the process does not lose it. Failures can be had again."""
        if outcome.kind != "completed":
            return
        try:
            if self._current.file.tell() >= SEGMENT_BYTES:
                full, self._current = self._current, self._open_segment()
                if not full.unsettled:
                    full.end()
            self._current.file.write(_encode(outcome))
        except OSError as exc:  # a full disk: the answer is still in memory, as without a spool
            log.error("the spool cannot be written: %s", exc.strerror)
            return
        self._current.unsettled += 1
        self._segment_of[outcome.grant.member] = self._current

    def settled(self, grant: Grant) -> None:
        """The store has dealt with this grant's outcome."""
        segment = self._segment_of.pop(grant.member, None)
        if segment is None:
            return
        segment.unsettled -= 1
        if segment.unsettled:
            return
        if segment is self._current:
            segment.file.seek(0)
            segment.file.truncate()
        else:
            segment.end()

    def close(self) -> None:
        """Remove the files, but for those with answers that the store did not take."""
        for segment in {self._current, *self._segment_of.values()}:
            segment.end()


def left_behind(folder: Path) -> Iterator[list[Outcome]]:
    """Answers in the spools of processes that are gone, file by file; a file goes when its turn is over."""
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.exists():  # another process may have recovered it before we had the lock
                    yield list(_read(file))
                    path.unlink(missing_ok=True)
        except OSError:
            continue  # its process lives


def _encode(outcome: Outcome) -> bytes:
    grant = outcome.grant
    fields = {
        "job": grant.job_id,
        "token": grant.token,
        "queue": grant.queue,
        "value": outcome.value.decode(),
        "attempt_event": outcome.attempt_event.decode(),
        "outcome_event": outcome.outcome_event.decode(),
        "shown": outcome.shown.decode("latin-1"),
    }
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)


def _read(file: IO[bytes]) -> Iterator[Outcome]:
    for line in file:
        try:
            fields = orjson.loads(line)
            yield _outcome(fields)
        except (ValueError, KeyError, TypeError):
            log.warning("a line of a spool is unreadable: it was being written when its process died")


def _outcome(fields: dict[str, Any]) -> Outcome:
    grant = Grant(
        job_id=str(fields["job"]),
        token=str(fields["token"]),
        queue=str(fields["queue"]),
        data=b"",
        info=b"",
        attempts=0,
        max_attempts=0,
        deadline_at=None,
        enqueued_at=None,
        claimed_at=0.0,
        rate_limit_waits=0,
    )
    value, attempt, outcome = (
        str(fields[name]).encode() for name in ("value", "attempt_event", "outcome_event")
    )
    return Outcome(grant, "completed", value, attempt, outcome, str(fields["shown"]).encode("latin-1"))
