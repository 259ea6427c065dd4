"""The output files: `OUT.jsonl` with answers, `OUT.errors.jsonl` with what got none. Both only grow.

Records go in by groups and are on disk before `append` returns. A crash leaves at most one torn line at the end of
each file; opening cuts it off. What is in the files is recorded: it is never asked again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from producer.batch.lines import STDIN
from producer.batch.outcome import Ended, Outcome
from producer.batch.record import PREFIX, Head, bad_line_record, is_answered, job_record, read_head
from shared.errors import BatchRefused


@dataclass(frozen=True, slots=True)
class Paths:
    """Where a batch writes."""

    output: Path

    @property
    def errors(self) -> Path:
        """`X.jsonl` → `X.errors.jsonl`; another suffix stays: `X.txt` → `X.txt.errors.jsonl`."""
        name = self.output.name.removesuffix(".jsonl")
        return self.output.with_name(f"{name}.errors.jsonl")

    @property
    def run_file(self) -> Path:
        """Identity and lock of an unfinished run."""
        return self.output.with_name(f"{self.output.name}.run")

    def check(self, source: Path) -> None:
        """Refuse names that cannot work, before anything is touched.

        Raises:
            BatchRefused: Says which, and what to do.
        """
        if self.output.suffix == ".gz":
            text = (
                "the output grows line by line and cannot be compressed: name it without .gz, gzip it later"
            )
            raise BatchRefused(f"{self.output}: {text}")
        if self.output == STDIN or (self.output.exists() and not self.output.is_file()):
            raise BatchRefused(f"{self.output}: the output must be a file, so that a run can be resumed")
        if not self.output.absolute().parent.is_dir():
            raise BatchRefused(f"{self.output}: there is no folder {self.output.parent}: make it first")
        for path in (self.output, self.errors, self.run_file):
            if source != STDIN and path.exists() and source.exists() and path.samefile(source):
                raise BatchRefused(f"{source} would be overwritten: choose another -o")


class OutputFiles:
    """Reads what is recorded, appends what comes. Hold the run file's lock while using it.

    Args:
        is_mending: Cut torn last lines off; without it nothing is ever written, and no lock is needed.
    """

    def __init__(self, paths: Paths, *, is_mending: bool = True) -> None:
        self.paths = paths
        self._is_mending = is_mending
        self._open: dict[Path, IO[bytes]] = {}

    def recorded(self) -> Iterator[Head]:
        """The answered lines; a torn last line is none.

        Raises:
            BatchRefused: The file was not written by `chatq run`; it is left as it is.
        """
        return _scan(self.paths.output, is_mending=self._is_mending)

    def failed(self) -> Iterator[Head]:
        """The same for the error file."""
        return _scan(self.paths.errors, is_mending=self._is_mending)

    def append(self, answers: list[bytes], failures: list[bytes]) -> None:
        """Write records and wait until they are on disk.

        Raises:
            OSError: The disk is full or failing; some of the records may be written, the last one torn.
        """
        self._append(self.paths.output, answers)
        self._append(self.paths.errors, failures)

    def remove_failures(self) -> None:
        """Drop the error file: its lines count as not recorded from now on."""
        self.paths.errors.unlink(missing_ok=True)
        self._sync_folder()

    def remove_marks(self) -> None:
        """Drop the records of lines that were left out for want of money; the others stay as they are."""
        path, kept = self.paths.errors, self.paths.errors.with_name(f"{self.paths.errors.name}.new")
        with path.open("rb") as old, kept.open("wb") as new:
            for line in old:
                head = read_head(line)
                if head is None or not head.is_mark:
                    new.write(line)
            new.flush()
            os.fsync(new.fileno())
        kept.replace(path)
        if not path.stat().st_size:
            path.unlink()
        self._sync_folder()

    def remove(self) -> None:
        """Drop both files."""
        self.paths.output.unlink(missing_ok=True)
        self.remove_failures()

    def close(self) -> None:
        """Close the files."""
        for file in self._open.values():
            file.close()
        self._open.clear()

    def _append(self, path: Path, records: list[bytes]) -> None:
        if not records:
            return
        file = self._open.get(path)
        if file is None:
            file = self._open[path] = path.open("ab")
            self._sync_folder()
        file.write(b"".join(records))
        file.flush()
        os.fsync(file.fileno())

    def _sync_folder(self) -> None:
        """Make the appearing or vanishing of a file last, too."""
        folder = os.open(self.paths.output.absolute().parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class FileOutput:
    """Records outcomes in the output files of a run.

    Args:
        run: Its id.
    """

    pause_s = 0.0

    def __init__(self, files: OutputFiles, run: str) -> None:
        self._files = files
        self._run = run

    async def append(self, group: Sequence[Outcome]) -> None:
        """Record outcomes; they are on disk when this returns.

        Raises:
            BatchRefused: The disk is full or failing.
        """
        answers: list[bytes] = []
        failures: list[bytes] = []
        for one in group:
            if isinstance(one, Ended):
                record = job_record(self._run, one.line.number, one.line.custom_id, one.job, one.cost)
                (answers if is_answered(one.job) else failures).append(record)
            else:
                failures.append(bad_line_record(self._run, one))
        try:
            await asyncio.to_thread(self._files.append, answers, failures)
        except OSError as exc:
            path = self._files.paths.output
            text = f"cannot write {path}: {exc.strerror}; make room and run the same command again"
            raise BatchRefused(text) from exc


def _scan(path: Path, *, is_mending: bool) -> Iterator[Head]:
    """Heads of all whole records; then the rest of a torn one may be cut off."""
    whole_bytes = number = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    if number == 1 and not PREFIX.startswith(line[: len(PREFIX)]):
                        raise _foreign(path, number)
                    if is_mending:
                        os.truncate(path, whole_bytes)
                    return
                head = read_head(line)
                if head is None:
                    raise _foreign(path, number)
                whole_bytes += len(line)
                yield head
    except FileNotFoundError:
        return
    except OSError as exc:
        raise BatchRefused(f"cannot read {path}: {exc.strerror}") from None


def _foreign(path: Path, number: int) -> BatchRefused:
    return BatchRefused(
        f"{path} line {number:,} was not written by `chatq run`: choose another -o, or --restart to overwrite it"
    )
