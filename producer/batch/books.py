"""The books of a run: lock and identity, output files, and the ledger of what they hold, opened together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from producer.batch.client import BatchClient
from producer.batch.feeder import CLIENT, line_key
from producer.batch.ledger import Ledger
from producer.batch.lines import STDIN
from producer.batch.output import OutputFiles, Paths
from producer.batch.record import Head
from producer.batch.run_file import RunFile
from producer.batch.tally import Tally
from shared.errors import BatchRefused
from shared.store.jobs import id_from_key

UNKNOWN_LINES = 20_000
"""Lines in a row that Redis does not know, blank ones for instance, after which there are none of a run any more:
lines are submitted in the order of the file."""


class _Abandoned(NamedTuple):
    """An unfinished run that a restart does away with."""

    run: str = ""
    last_recorded: int = 0


class Books:
    """A context manager: on entry the output is locked and read, on exit the lock is given back.

    Args:
        source: The input, for its name and to protect it.
        output: `OUT.jsonl`.
        is_restart: Remove what an earlier run wrote, and take a new identity.
        is_retry: Treat failed lines as not recorded.

    Attributes:
        is_complete: Set it when every line is recorded: the run file goes then.
        has_begun: Set it when jobs may be in Redis under this run's id: the run file stays then.
    """

    def __init__(self, source: Path, output: Path, *, is_restart: bool, is_retry: bool) -> None:
        self._abandoned = _Abandoned()
        self.paths = Paths(output)
        self.files = OutputFiles(self.paths)
        self.ledger = Ledger()
        self.is_complete = False
        self.has_begun = False
        self._source = source
        self._is_restart = is_restart
        self._is_retry = is_retry

    def __enter__(self) -> Books:
        """Lock and read.

        Raises:
            BatchRefused: The names collide, another run is writing, or the files are not ours.
        """
        self.paths.check(self._source)
        self._run_file = RunFile(self.paths.run_file)
        try:
            if self._is_restart:
                self._abandoned = _Abandoned(self._run_file.run, self._last_recorded())
                self.files.remove()
                self._run_file.forget()
            self.has_begun = bool(self._run_file.run)
            self.recorded = self._note(self.files.recorded())
            self.failed = 0 if self._is_retry else self._note(self.files.failed())
            is_stdin = self._source == STDIN
            self._run_file.begin("-" if is_stdin else str(self._source.resolve()))
        except OSError as exc:
            self._run_file.close(is_kept=self.has_begun)
            raise BatchRefused(f"cannot write {exc.filename or self.paths.output}: {exc.strerror}") from exc
        except BaseException:
            self._run_file.close(is_kept=self.has_begun)
            raise
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.files.close()
        self.ledger.close()
        self._run_file.close(is_kept=self.has_begun and not self.is_complete)

    @property
    def run(self) -> str:
        """The run's id."""
        return self._run_file.run

    def tally(self) -> Tally:
        """A tally that starts with what is recorded."""
        return Tally(recorded_before=self.recorded + self.failed, failed_before=self.failed)

    async def cancel_abandoned(self, client: BatchClient, tally: Tally) -> None:
        """With `is_restart`: end what the unfinished run left in Redis; nobody will collect it.

        A crash in between leaves the rest, which runs, unread, until its results expire.
        """
        run, last_recorded = self._abandoned
        number = 0
        while run and number < last_recorded + UNKNOWN_LINES:
            ids = [id_from_key(CLIENT, line_key(run, number + n)) for n in range(1, 1001)]
            number += len(ids)
            if await client.cancel_many(ids):
                last_recorded = max(last_recorded, number)
                tally.notice = f"cancelling what the earlier run left: line {number:,}"
        tally.notice = ""

    async def reopen_failed(self, client: BatchClient) -> None:
        """With `is_retry`: drop the failed jobs and their records.

        Redis first: a failed job that stays there would answer the new submit. A crash in between leaves the
        records, and the same command does the same again.
        """
        if self._is_retry:
            async for ids in _failed_ids(self.files.failed()):
                await client.forget(ids)
            self.files.remove_failures()

    def _last_recorded(self) -> int:
        """The highest line number in the files; 0 for files that are not ours, which a restart overwrites."""
        with suppress(BatchRefused):
            return max((head.number for head in chain(self.files.recorded(), self.files.failed())), default=0)
        return 0

    def _note(self, heads: Iterator[Head]) -> int:
        count = 0

        def lines() -> Iterator[tuple[int, str]]:
            nonlocal count
            for head in heads:
                count += 1
                yield head.number, head.custom_id

        self.ledger.note_recorded(lines())
        return count


async def _failed_ids(heads: Iterator[Head]) -> AsyncIterator[list[str]]:
    while ids := [id_from_key(CLIENT, line_key(head.run, head.number)) for head in islice(heads, 1000)]:
        yield ids
