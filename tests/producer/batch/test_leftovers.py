"""Telling lines that became jobs in an earlier session from new ones."""

from __future__ import annotations

import pytest

from producer.batch import leftovers
from producer.batch.leftovers import Leftovers
from producer.batch.reader import Line
from shared.job import Job, JobState

from .memory_client import job
from .queue_client import QueueClient


def line(number: int) -> Line:
    return Line(number, f"id-{number}", {}, 10)


def job_id(of: Line) -> str:
    return str(of.number)


def numbers(lines: list[Line]) -> list[int]:
    return [one.number for one in lines]


class CountingClient(QueueClient):
    def __init__(self, **states: JobState) -> None:
        super().__init__()
        self.jobs = {
            name.removeprefix("n"): job(name.removeprefix("n"), state) for name, state in states.items()
        }
        self.looks = 0

    async def get_many(self, job_ids: object) -> list[Job | None]:
        self.looks += 1
        return await super().get_many(job_ids)  # type: ignore[arg-type]


LINES = [line(n) for n in range(1, 6)]


async def test_lines_with_a_job_are_known() -> None:
    """Whatever the job does; a cancelled one is somebody's will."""
    client = CountingClient(n2=JobState.QUEUED, n3=JobState.CANCELLED, n5=JobState.COMPLETED)
    known, new = await Leftovers(client, has_cancelled=False).divide(LINES, job_id)
    assert (numbers(known), numbers(new)) == ([2, 3, 5], [1, 4])


async def test_jobs_that_we_cancelled_are_dropped() -> None:
    """Their lines are asked anew."""
    client = CountingClient(n2=JobState.QUEUED, n3=JobState.CANCELLED)
    known, new = await Leftovers(client, has_cancelled=True).divide(LINES, job_id)
    assert (numbers(known), numbers(new)) == ([2], [1, 3, 4, 5])
    assert set(client.jobs) == {"2"}


async def test_long_stretch_of_new_lines_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are submitted in their order: there is nothing behind it."""
    monkeypatch.setattr(leftovers, "UNKNOWN_LINES", 10)
    client = CountingClient(n1=JobState.QUEUED)
    left = Leftovers(client, has_cancelled=False)
    await left.divide(LINES, job_id)
    for _ in range(5):
        assert await left.divide(LINES[1:], job_id) == ([], LINES[1:])
    assert client.looks == 1 + 3
