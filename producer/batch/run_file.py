"""The run file, `OUT.jsonl.run`: one run's identity while it is unfinished, and its lock on the output."""

from __future__ import annotations

import fcntl
import os
import secrets
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import orjson

from producer.batch.line_cost import NOTHING, LineCost, total
from shared.errors import BatchRefused

DEFAULT_CLIENT = "default"
"""Whose jobs a batch submits unless it is told otherwise."""


class RunFile:
    """Held by one process at a time. The lock goes with the process; the file stays until the run is complete.

    It holds a JSON object a line: who the run is, then what is added to that. A line that a crash cut short counts
    as not written.

    Attributes:
        run: The run's id, part of every idempotency key; "" before `begin`.
        input: What the unfinished run reads from; "" when there is none.
        client: Whose jobs it submits, also part of every key.
        has_cancelled: Whether it began to cancel jobs because the money was spent.
        dropped_cost: What failed lines cost whose records were dropped, to be asked again.
    """

    def __init__(self, path: Path) -> None:
        """Take the lock and read what an interrupted run left.

        Raises:
            BatchRefused: Another process holds it, or the folder cannot be written.
        """
        self.run = self.input = ""
        self.client, self.has_cancelled, self.dropped_cost = DEFAULT_CLIENT, False, NOTHING
        self._path = path
        self._file = self._lock()
        self._read()

    def begin(self, input_name: str, client: str) -> None:
        """Keep the identity of the unfinished run, or take a new one. On disk before it returns.

        Raises:
            BatchRefused: The unfinished run reads from another input, or submits for another client.
        """
        if self.run and self.input != input_name:
            raise self._other_run(f"of {self.input}: give that input again")
        if self.run and self.client != client:
            raise self._other_run(f"for client {self.client}: give that --client again")
        if not self.run:
            self.run, self.input, self.client = secrets.token_hex(8), input_name, client
            self._write(orjson.dumps({"run": self.run, "input": input_name, "client": client}))

    def note_cancelling(self) -> None:
        """Note that jobs are about to be cancelled for want of money. On disk before it returns."""
        if not self.has_cancelled:
            self.has_cancelled = True
            self._write(b'\n{"has_cancelled":true}')

    def note_dropped(self, cost: LineCost) -> None:
        """Note the cost of records that are about to be dropped. On disk before it returns."""
        if cost.counted_usd or cost.unknown:
            self.dropped_cost = total((self.dropped_cost, cost))
            fields = {"usd": str(cost.usd), "unknown": cost.unknown, "assumed_usd": str(cost.assumed_usd)}
            self._write(b"\n" + orjson.dumps({"dropped": fields}))

    def forget(self) -> None:
        """Drop the identity, so that `begin` takes a new one."""
        self._file.seek(0)
        self._file.truncate()
        self._read()

    def close(self, *, is_kept: bool) -> None:
        """Give the lock back; the file stays when there is something to go on with."""
        if not (is_kept and self.run):
            self._path.unlink(missing_ok=True)
        self._file.close()

    def _other_run(self, which: str) -> BatchRefused:
        text = f"{self._path.name} belongs to an unfinished run {which}, choose another -o, or --restart"
        return BatchRefused(text)

    def _write(self, text: bytes) -> None:
        self._file.write(text)
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self) -> None:
        """Take over what is there; without an identity that is nothing: no job was submitted by then."""
        self.run = self.input = ""
        self.client, self.has_cancelled, self.dropped_cost = DEFAULT_CLIENT, False, NOTHING
        self._file.seek(0)
        lines = [fields for line in self._file.readlines() if (fields := _object(line)) is not None]
        try:
            self.run, self.input = str(lines[0]["run"]), str(lines[0]["input"])
            self.client = str(lines[0].get("client", DEFAULT_CLIENT))
        except (IndexError, KeyError):
            self._file.truncate(0)
            return
        for fields in lines[1:]:
            self.has_cancelled = self.has_cancelled or fields.get("has_cancelled") is True
            self.dropped_cost = total((self.dropped_cost, _cost(fields.get("dropped"))))

    def _lock(self) -> IO[bytes]:
        while True:
            try:
                file = self._path.open("a+b")
            except OSError as exc:
                raise BatchRefused(f"cannot write {self._path}: {exc.strerror}") from None
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                raise BatchRefused(
                    f"another run is writing here: {self._path} is locked; wait for it, or choose another -o"
                ) from None
            # A run that completed between our open and our lock has removed the file we hold.
            if self._is_current(file):
                return file
            file.close()

    def _is_current(self, file: IO[bytes]) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), self._path.stat())
        except FileNotFoundError:
            return False


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return fields if isinstance(fields, dict) else None


def _cost(fields: Any) -> LineCost:
    match fields:
        case {"usd": str(usd), "unknown": int(unknown), "assumed_usd": str(assumed_usd)}:
            return LineCost(Decimal(usd), unknown, Decimal(assumed_usd))
        case _:
            return NOTHING
