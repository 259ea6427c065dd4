"""A streamed answer as its caller is told it: piece by piece, whole in any case, and then how the job ended."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from producer.client import Producer
from shared.answer_pieces import Told
from shared.errors import JobNotFound
from shared.job import Job
from shared.store.deltas import Delta


async def follow_answer(
    producer: Producer, job_id: str, *, after: str | None = None
) -> AsyncGenerator[Delta | Job, None]:
    """The deltas of a job as they come, what they left out, and as the last the ended job.

    The answer of a job that never streamed is one delta.

    Args:
        after: Id of the last delta that is known already.

    Raises:
        JobNotFound: No such job, or the deltas behind `after` are gone.
        StoreUnavailable: No answer from Redis when the job had ended; before, an outage is sat out.
    """
    told, last, known = Told(), 0, _number(after)
    async with aclosing(producer.deltas.follow(job_id)) as deltas:
        async for delta in deltas:
            told.add(delta.choices)
            last = int(delta.id)
            if last > known:
                yield delta
    (job,) = await producer.get_many([job_id])
    if job is None:
        raise JobNotFound(f"no job {job_id}: it was never accepted, or its result has expired")
    if known > last + 1:  # what completes an answer has a number, too
        raise JobNotFound(f"the pieces of the answer of job {job_id} are gone; ask for all of it again")
    if job.response is not None and last >= known and (rest := told.rest(job.response)):
        yield Delta(str(last + 1), rest)
    yield job


def _number(delta_id: str | None) -> int:
    """The number that the id of a delta is; 0 for anything else."""
    return (
        int(delta_id) if delta_id and delta_id.isascii() and delta_id.isdigit() and len(delta_id) < 10 else 0
    )
