"""The run file, `OUT.jsonl.run`: one run's identity while it is unfinished, and its lock on the output."""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path
from typing import IO

import orjson

from shared.errors import BatchRefused


class RunFile:
    """Held by one process at a time. The lock goes with the process; the file stays until the run is complete.

    Attributes:
        run: The run's id, part of every idempotency key; "" before `begin`.
        input: What the unfinished run reads from; "" when there is none.
    """

    def __init__(self, path: Path) -> None:
        """Take the lock and read what an interrupted run left.

        Raises:
            BatchRefused: Another process holds it, or the folder cannot be written.
        """
        self._path = path
        self._file = self._lock()
        self.run, self.input = _read(self._file)

    def begin(self, input_name: str) -> None:
        """Keep the identity of the unfinished run, or take a new one. On disk before it returns.

        Raises:
            BatchRefused: The unfinished run reads from another input.
        """
        if self.run and self.input != input_name:
            raise BatchRefused(
                f"{self._path.name} belongs to an unfinished run of {self.input}: give that input again, "
                "choose another -o, or --restart"
            )
        if not self.run:
            self.run, self.input = secrets.token_hex(8), input_name
            self._file.write(orjson.dumps({"run": self.run, "input": input_name}))
            self._file.flush()
            os.fsync(self._file.fileno())

    def forget(self) -> None:
        """Drop the identity, so that `begin` takes a new one."""
        self.run = self.input = ""
        self._file.seek(0)
        self._file.truncate()

    def close(self, *, is_kept: bool) -> None:
        """Give the lock back; the file stays when there is something to go on with."""
        if not (is_kept and self.run):
            self._path.unlink(missing_ok=True)
        self._file.close()

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


def _read(file: IO[bytes]) -> tuple[str, str]:
    """Run id and input; both empty when a crash cut the writing short: nothing was submitted by then."""
    file.seek(0)
    try:
        fields = orjson.loads(file.read())
        return str(fields["run"]), str(fields["input"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        file.truncate(0)
        return "", ""
