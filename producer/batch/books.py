"""The books of a run: lock and identity, output files, and the ledger of what they hold, opened together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from producer.batch.client import BatchClient
from producer.batch.feeder import line_key
from producer.batch.ledger import Ledger
from producer.batch.leftovers import UNKNOWN_LINES
from producer.batch.line_cost import NOTHING, LineCost, total
from producer.batch.lines import STDIN
from producer.batch.output import OutputFiles, Paths
from producer.batch.record import Head
from producer.batch.run_file import DEFAULT_CLIENT, RunFile
from producer.batch.tally import Tally
from shared.errors import BatchRefused
from shared.store.jobs import id_from_key


class _Abandoned(NamedTuple):
    """An unfinished run that a restart does away with."""

    run: str = ""
    client: str = ""
    last_recorded: int = 0


class Books:
    """A context manager: on entry the output is locked and read, on exit the lock is given back.

    Args:
        source: The input, for its name and to protect it.
        output: `OUT.jsonl`.
        is_restart: Remove what an earlier run wrote, and take a new identity.
        is_retry: Treat failed lines as not recorded. Those that were left out for want of money never are.
        client: Whose jobs the lines become.

    Attributes:
        is_complete: Set it when every line is recorded: the run file goes then.
        has_begun: Set it when jobs may be in Redis under this run's id: the run file stays then.
        is_resumed: Whether jobs may be there already.
        spent: What the recorded lines cost, and those whose records were dropped to ask again.
    """

    def __init__(
        self,
        source: Path,
        output: Path,
        *,
        is_restart: bool = False,
        is_retry: bool = False,
        client: str = DEFAULT_CLIENT,
    ) -> None:
        self._abandoned = _Abandoned()
        self.paths = Paths(output)
        self.files = OutputFiles(self.paths)
        self.ledger = Ledger()
        self.is_complete = False
        self.has_begun = False
        self.is_resumed = False
        self.spent = NOTHING
        self._reopened_cost: LineCost = NOTHING
        self._marks = 0
        self._client = client
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
                run_file = self._run_file
                self._abandoned = _Abandoned(run_file.run, run_file.client, self._last_recorded())
                self.files.remove()
                self._run_file.forget()
            self.has_begun = self.is_resumed = bool(self._run_file.run)
            self._read_files()
            is_stdin = self._source == STDIN
            self._run_file.begin("-" if is_stdin else str(self._source.resolve()), self._client)
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

    @property
    def client(self) -> str:
        """Whose jobs the lines become."""
        return self._client

    @property
    def has_cancelled(self) -> bool:
        """Whether cancelled jobs of this run may be in Redis that are to be asked after all."""
        return self._run_file.has_cancelled

    def note_cancelling(self) -> None:
        """Note, before the first one, that jobs are cancelled for want of money."""
        self._run_file.note_cancelling()

    def tally(self) -> Tally:
        """A tally that starts with what is recorded."""
        return Tally(
            recorded_before=self.recorded + self.failed, failed_before=self.failed, cost_before=self.spent
        )

    async def cancel_abandoned(self, client: BatchClient, tally: Tally) -> None:
        """With `is_restart`: end what the unfinished run left in Redis; nobody will collect it.

        A crash in between leaves the rest, which runs, unread, until its results expire.
        """
        run, of_client, last_recorded = self._abandoned
        number = 0
        while run and number < last_recorded + UNKNOWN_LINES:
            ids = [id_from_key(of_client, line_key(run, number + n)) for n in range(1, 1001)]
            number += len(ids)
            if await client.cancel_many(ids):
                last_recorded = max(last_recorded, number)
                tally.notice = f"cancelling what the earlier run left: line {number:,}"
        tally.notice = ""

    async def reopen_failed(self, client: BatchClient) -> None:
        """Drop the records of lines that are asked again: those left out, and with `is_retry` all that failed.

        Redis first: a failed job that stays there would answer the new submit. A crash in between leaves the
        records, and the same command does the same again. What the lines cost is noted before its records go; a
        crash in between counts it twice, which spends less, not more.
        """
        if self._is_retry:
            async for ids in _ids(self._client, self.files.failed()):
                await client.forget(ids)
            self._run_file.note_dropped(self._reopened_cost)
            self.files.remove_failures()
        elif self._marks:
            self._run_file.note_dropped(self._reopened_cost)
            self.files.remove_marks()

    def _last_recorded(self) -> int:
        """The highest line number in the files; 0 for files that are not ours, which a restart overwrites."""
        with suppress(BatchRefused):
            return max((head.number for head in chain(self.files.recorded(), self.files.failed())), default=0)
        return 0

    def _read_files(self) -> None:
        """Note the recorded lines, and what all of them cost."""
        answered, failed, reopened = _Count(), _Count(), _Count()
        self.ledger.note_recorded(answered.passed(self.files.recorded()))

        def kept() -> Iterator[Head]:
            for head in self.files.failed():
                if self._is_retry or head.is_mark:
                    reopened.add(head)
                    self._marks += head.is_mark
                else:
                    yield head

        self.ledger.note_recorded(failed.passed(kept()))
        self.recorded, self.failed, self._reopened_cost = answered.lines, failed.lines, reopened.cost
        self.spent = total((answered.cost, failed.cost, reopened.cost, self._run_file.dropped_cost))


class _Count:
    """Counts heads as they go by."""

    def __init__(self) -> None:
        self.lines = 0
        self.cost = NOTHING

    def add(self, head: Head) -> None:
        self.lines += 1
        self.cost = total((self.cost, head.cost))

    def passed(self, heads: Iterator[Head]) -> Iterator[tuple[int, str]]:
        """Line numbers and custom ids, for the ledger."""
        for head in heads:
            self.add(head)
            yield head.number, head.custom_id


async def _ids(client: str, heads: Iterator[Head]) -> AsyncIterator[list[str]]:
    while ids := [id_from_key(client, line_key(head.run, head.number)) for head in islice(heads, 1000)]:
        yield ids
