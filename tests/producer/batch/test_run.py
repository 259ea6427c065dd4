"""Whole runs against a producer in memory: every line once, whatever happens in between."""

from __future__ import annotations

import asyncio
import gzip
import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from producer.batch import BatchRun, Plan, Tally
from producer.batch.books import Books
from producer.submission import Submission
from shared.errors import BatchRefused, InvalidRequest, JobRejected, LaneFull, StoreFull, StoreUnavailable
from shared.job import Job, JobError, JobState, Lane

from .memory_client import MemoryClient, MemoryWatch, answer, job


class Batch:
    """One input and output, run as often as a test likes on one store."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "in.jsonl"
        self.output = folder / "out.jsonl"
        self.client = MemoryClient()
        self.tally = Tally()

    def write(self, *lines: dict[str, Any] | str) -> None:
        text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
        self.source.write_text(text + "\n")

    def write_many(self, count: int) -> None:
        self.write(*({"id": f"id-{n}", "prompt": f"say {n}"} for n in range(1, count + 1)))

    async def run(
        self,
        *,
        stop_when: Callable[[Tally], bool] | None = None,
        is_retry: bool = False,
        is_restart: bool = False,
        window: int = 100,
    ) -> bool:
        with Books(self.source, self.output, is_restart=is_restart, is_retry=is_retry) as books:
            self.tally = books.tally()
            plan = Plan(self.source, "m", Lane.BATCH, window, max_line_bytes=10_000, retry_s=0.5)
            run = BatchRun(self.client, books, self.tally, plan)
            running = asyncio.create_task(run.run())
            while stop_when is not None and not running.done():
                if stop_when(self.tally):
                    run.finish()
                await asyncio.sleep(0)
            return await running

    def answers(self) -> list[dict[str, Any]]:
        return records(self.output)

    def errors(self) -> list[dict[str, Any]]:
        return records(self.output.with_name("out.errors.jsonl"))

    def numbers(self) -> list[int]:
        """Line numbers over both files, sorted."""
        return sorted(int(record["id"].rpartition("_")[2]) for record in self.answers() + self.errors())


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def failing(reason: str = "connect_failed") -> Callable[[Submission, str], Job]:
    """Outcome of every job: failed."""
    return lambda _submission, job_id: job(job_id, JobState.FAILED, error=JobError(reason, "no luck"))


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    return Batch(tmp_path)


async def test_every_line_is_answered_under_its_id(batch: Batch) -> None:
    """The answer belongs to the request of the same custom id."""
    batch.write_many(500)
    assert await batch.run()
    assert batch.numbers() == list(range(1, 501))
    for record in batch.answers():
        text = record["response"]["body"]["choices"][0]["message"]["content"]
        assert text == record["custom_id"].replace("id-", "say ")


async def test_finished_run_leaves_two_kinds_of_files(batch: Batch) -> None:
    """The output, here no errors, and no run file; nothing stays in Redis."""
    batch.write_many(3)
    await batch.run()
    assert sorted(path.name for path in batch.output.parent.iterdir()) == ["in.jsonl", "out.jsonl"]
    assert batch.client.jobs == {}


async def test_window_bounds_what_is_in_redis(batch: Batch) -> None:
    """However long the file is."""
    batch.write_many(1000)
    await batch.run(window=40)
    assert batch.client.most_pending <= 40


async def test_bad_lines_do_not_hold_up_the_rest(batch: Batch) -> None:
    """Each gets an error with its number."""
    batch.write({"prompt": "a"}, "{oops", {"id": "x", "prompt": "b"}, {"id": "x", "prompt": "c"}, "[]")
    assert await batch.run()
    assert [(r["custom_id"], r["error"]["code"], r["error"]["line"]) for r in batch.errors()] == [
        ("line-2", "invalid_json_line", 2),
        ("x", "duplicate_custom_id", 4),
        ("line-5", "invalid_json_line", 5),
    ]
    assert len(batch.answers()) == 2


async def test_file_of_bad_lines_only_ends(batch: Batch) -> None:
    """Nothing is submitted, everything is told."""
    batch.write(*["{"] * 1000)
    assert await batch.run(window=10)
    assert batch.numbers() == list(range(1, 1001))


async def test_empty_file_is_complete(batch: Batch) -> None:
    """No lines, no files."""
    batch.source.write_text("")
    assert await batch.run()
    assert not batch.output.exists()


async def test_failures_go_to_the_error_file(batch: Batch) -> None:
    """And are counted by code."""
    batch.write_many(5)
    batch.client.outcome = failing()
    assert await batch.run()
    assert batch.answers() == []
    assert batch.tally.summary()["errors"] == {"connect_failed": 5}


class FullClient(MemoryClient):
    """Takes two lines a call: its lane is full."""

    def watch(self) -> MemoryWatch:
        return FullWatch(self)


class FullWatch(MemoryWatch):
    async def submit_many(self, submissions: Any) -> list[str | JobRejected]:
        submissions = list(submissions)
        full: list[str | JobRejected] = [
            LaneFull("queue q takes no more", queue="q", retry_after_s=0.01) for _ in submissions[2:]
        ]
        return await super().submit_many(submissions[:2]) + full


async def test_full_lane_is_waited_for(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no line's error; the display says why it takes so long."""
    monkeypatch.setattr("producer.batch.feeder.SHORTEST_PAUSE_S", 0.01)
    batch.client = FullClient()
    batch.write_many(9)
    notices = set()

    def look(tally: Tally) -> bool:
        notices.add(tally.notice)
        return False

    assert await batch.run(stop_when=look)
    assert batch.numbers() == list(range(1, 10))
    assert batch.errors() == []
    assert notices == {"", "queue q takes no more"}


async def test_run_that_waits_for_a_full_lane_can_be_stopped(batch: Batch) -> None:
    """What is in Redis is recorded, the rest is for the next run."""
    batch.client = FullClient()
    batch.write_many(9)
    assert not await batch.run(stop_when=lambda tally: tally.done == 2)
    batch.client = MemoryClient()
    assert await batch.run()
    assert batch.numbers() == list(range(1, 10))


class RejectingClient(MemoryClient):
    """Rejects one line, as the producer's validation would."""

    def watch(self) -> MemoryWatch:
        return RejectingWatch(self)


class RejectingWatch(MemoryWatch):
    async def submit_many(self, submissions: Any) -> list[str | JobRejected]:
        submissions = list(submissions)
        good = [s for s in submissions if not s.request.get("stream")]
        ids = iter(await super().submit_many(good))
        return [next(ids) if s in good else InvalidRequest("stream: no") for s in submissions]


async def test_rejected_request_is_a_bad_line(batch: Batch) -> None:
    """Its neighbours in the same group go on."""
    batch.client = RejectingClient()
    batch.write({"prompt": "a"}, {"id": "b", "prompt": "b", "stream": True}, {"prompt": "c"})
    assert await batch.run()
    (error,) = batch.errors()
    assert (error["custom_id"], error["error"]["code"], error["error"]["line"]) == ("b", "invalid_request", 2)
    assert len(batch.answers()) == 2


@pytest.mark.parametrize("after", [0, 1, 130])
async def test_interrupted_run_goes_on(batch: Batch, after: int) -> None:
    """Everything once, nothing asked twice that was answered."""
    batch.write_many(600)
    assert not await batch.run(stop_when=lambda tally: tally.done >= after)
    assert await batch.run()
    assert batch.numbers() == list(range(1, 601))
    assert set(batch.client.asked.values()) == {1}


async def test_killed_run_goes_on_from_redis(batch: Batch) -> None:
    """Answers that were never written are found again by their keys."""
    batch.write_many(50)
    batch.client.is_holding = True
    assert not await batch.run(stop_when=lambda tally: len(batch.client.jobs) == 50)
    assert not batch.output.exists()
    batch.client.is_holding = False
    assert await batch.run()
    assert len(batch.answers()) == 50
    assert set(batch.client.asked.values()) == {1}


async def test_recorded_but_not_dropped_is_not_asked_again(batch: Batch) -> None:
    """A crash between the disk and Redis leaves both; the disk counts."""
    batch.write_many(20)
    await batch.run(stop_when=lambda tally: tally.done >= 5)
    whole = batch.output.read_bytes()
    await batch.run()
    later = batch.output.read_bytes()[len(whole) :]
    batch.output.write_bytes(whole + later[:30])  # torn
    assert await batch.run()
    assert batch.numbers() == list(range(1, 21))


async def test_second_run_has_nothing_to_do(batch: Batch) -> None:
    """All recorded, nothing asked."""
    batch.write_many(10)
    await batch.run()
    asked = dict(batch.client.asked)
    assert await batch.run()
    assert batch.client.asked == asked
    assert (batch.tally.recorded_before, batch.tally.done) == (10, 0)


async def test_lines_added_later_are_run(batch: Batch) -> None:
    """The recorded ones stay as they are."""
    batch.write_many(5)
    await batch.run()
    batch.write_many(8)
    assert await batch.run()
    assert (batch.tally.recorded_before, batch.tally.done, len(batch.answers())) == (5, 3, 8)


async def test_retry_asks_only_for_the_failed(batch: Batch) -> None:
    """Their error lines go; a repaired line is read again; answers stay."""
    batch.write({"id": "a", "prompt": "a"}, {"id": "b", "prompt": "fail"}, "{oops")
    batch.client.outcome = lambda s, i: (failing() if "fail" in str(s.request) else answer)(s, i)
    await batch.run()
    assert len(batch.errors()) == 2
    batch.write({"id": "a", "prompt": "a"}, {"id": "b", "prompt": "fail"}, {"id": "c", "prompt": "repaired"})
    batch.client.outcome = answer
    assert await batch.run(is_retry=True)
    assert batch.errors() == []
    assert sorted(record["custom_id"] for record in batch.answers()) == ["a", "b", "c"]


async def test_retry_of_an_interrupted_run_keeps_the_rest(batch: Batch) -> None:
    """What is answered in Redis and not written yet is not asked again."""
    batch.write_many(40)
    batch.client.outcome = lambda s, i: (failing() if "say 1" in str(s.request) else answer)(s, i)
    await batch.run(stop_when=lambda tally: tally.failed >= 1)
    failed = {record["custom_id"] for record in batch.errors()}
    batch.client.outcome = answer
    assert await batch.run(is_retry=True)
    assert batch.numbers() == list(range(1, 41))
    twice = {key for key, count in batch.client.asked.items() if count > 1}
    assert {f"id-{key.rpartition(':')[2]}" for key in twice} <= failed


async def test_retry_finds_no_old_failure_in_redis(batch: Batch) -> None:
    """A crash before the failed job was dropped must not answer the retry."""
    batch.write_many(3)
    batch.client.outcome = failing()
    await batch.run()
    (run,) = {record["id"].split("_")[2] for record in batch.errors()}
    batch.output.with_name("out.jsonl.run").write_text(json.dumps({"run": run, "input": str(batch.source)}))
    batch.client.outcome = answer
    assert await batch.run(is_retry=True)
    assert len(batch.answers()) == 3


async def test_restart_asks_everything_anew(batch: Batch) -> None:
    """Under another run id; nothing of the old output stays."""
    batch.write_many(5)
    batch.client.outcome = failing()
    await batch.run()
    batch.client.outcome = answer
    assert await batch.run(is_restart=True)
    assert (len(batch.answers()), batch.errors(), len(batch.client.asked)) == (5, [], 10)


async def test_restart_cancels_what_an_unfinished_run_left(batch: Batch) -> None:
    """Its lines would be answered for nobody; those of this run are left alone."""
    batch.write_many(50)
    batch.client.is_holding = True
    await batch.run(stop_when=lambda tally: len(batch.client.jobs) == 50)
    left = set(batch.client.jobs)
    batch.client.is_holding = False
    assert await batch.run(is_restart=True)
    assert set(batch.client.cancelled) == left
    assert len(batch.answers()) == 50


async def test_restart_of_a_finished_run_cancels_nothing(batch: Batch) -> None:
    """There is nothing left of it."""
    batch.write_many(5)
    await batch.run()
    assert await batch.run(is_restart=True)
    assert batch.client.cancelled == []


async def test_changed_input_is_refused_and_leaves_no_trace(batch: Batch) -> None:
    """The output is not touched, and the right input still goes."""
    batch.write_many(5)
    await batch.run()
    before = batch.output.read_bytes()
    batch.write({"id": "other", "prompt": "x"})
    with pytest.raises(BatchRefused, match="the input changed"):
        await batch.run()
    assert batch.output.read_bytes() == before
    assert not batch.output.with_name("out.jsonl.run").exists()


async def test_damaged_input_ends_with_what_was_readable(batch: Batch) -> None:
    """The line where it breaks off is an error; those before it are answered."""
    batch.source = batch.source.with_suffix(".jsonl.gz")
    raw = gzip.compress("".join(json.dumps({"prompt": f"{n * n}"}) + "\n" for n in range(3000)).encode())
    batch.source.write_bytes(raw[: len(raw) // 2])
    assert await batch.run()
    (error,) = batch.errors()
    assert error["error"]["code"] == "input_unreadable"
    assert len(batch.answers()) > 100


class FlakyWatch(MemoryWatch):
    """Raises what the client has in store for it, call by call."""

    async def submit_many(self, submissions: Any) -> list[str | JobRejected]:
        client = self._client
        assert isinstance(client, FlakyClient)
        if client.submit_errors:
            raise client.submit_errors.pop()
        return await super().submit_many(submissions)

    async def next_batch(self, *, timeout_s: float) -> list[Job]:
        client = self._client
        assert isinstance(client, FlakyClient)
        if client.read_errors:
            raise client.read_errors.pop()
        return await super().next_batch(timeout_s=timeout_s)


class FlakyClient(MemoryClient):
    def __init__(self) -> None:
        super().__init__()
        self.submit_errors: list[Exception] = []
        self.read_errors: list[Exception] = []

    def watch(self) -> MemoryWatch:
        return FlakyWatch(self)


async def test_full_redis_is_waited_out(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same lines are handed in again."""
    monkeypatch.setattr("producer.batch.feeder.FULL_PAUSE_S", 0.01)
    batch.client = client = FlakyClient()
    client.submit_errors = [StoreFull("full"), StoreFull("full")]
    batch.write_many(30)
    assert await batch.run()
    assert len(batch.answers()) == 30


async def test_short_outage_is_borne(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading goes on where it was."""
    monkeypatch.setattr("producer.batch.collector.OUTAGE_PAUSE_S", 0.01)
    batch.client = client = FlakyClient()
    client.read_errors = [StoreUnavailable("gone")] * 3
    batch.write_many(30)
    assert await batch.run()
    assert len(batch.answers()) == 30


async def test_long_outage_ends_the_run_resumably(batch: Batch) -> None:
    """The error is Redis's; the next run goes on."""
    batch.client = client = FlakyClient()
    client.submit_errors = [StoreUnavailable("gone")]
    batch.write_many(30)
    with pytest.raises(StoreUnavailable):
        await batch.run()
    assert await batch.run()
    assert batch.numbers() == list(range(1, 31))


class ForgetfulWatch(MemoryWatch):
    """Loses the first job it is given, like a Redis that crashed without its last second."""

    async def submit_many(self, submissions: Any) -> list[str | JobRejected]:
        ids = await super().submit_many(submissions)
        self._ended.pop(0)
        return ids


class ForgetfulClient(MemoryClient):
    def watch(self) -> MemoryWatch:
        return ForgetfulWatch(self)


async def test_lost_job_becomes_an_error_line(batch: Batch) -> None:
    """The run ends, with one line per line."""
    batch.client = ForgetfulClient()
    batch.write_many(5)
    assert await batch.run()
    assert [record["error"]["code"] for record in batch.errors()] == ["job_lost"]
    assert batch.numbers() == [1, 2, 3, 4, 5]


async def test_full_disk_ends_the_run_resumably(batch: Batch) -> None:
    """What could not be written stays in Redis; nothing follows a torn line."""
    batch.write_many(300)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(BatchRefused, match="File too large; make room and run the same command again"):
            await batch.run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not batch.output.read_bytes().endswith(b"\n")
    assert await batch.run()
    assert batch.numbers() == list(range(1, 301))
    assert set(batch.client.asked.values()) == {1}


class CountlessClient(MemoryClient):
    """Keeps no record of what was asked: its memory must not grow either."""

    async def forget(self, job_ids: Any) -> int:
        self.asked.clear()
        return await super().forget(job_ids)


async def test_memory_does_not_grow_with_the_file(batch: Batch) -> None:
    """Six times the lines, the same memory, but for SQLite's cache."""
    batch.client = CountlessClient()
    batch.write_many(10_000)
    await batch.run(window=2000)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    batch.write_many(60_000)
    written_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await batch.run(window=2000, is_restart=True)
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - max(before_kib, written_kib)
    assert batch.tally.done == 60_000
    assert grown_kib < 24 * 1024
