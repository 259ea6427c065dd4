"""The checker: reads outside evidence only and shares no code with chatq.

Evidence: the ids that were acknowledged, the simulator's log, a snapshot of Redis at rest, and what pollers saw.
Invariants by their numbers in reliability.md §9.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import redis


class Call(Protocol):
    """One line of the simulator's log."""

    job: str | None
    digest: str | None
    status: int | None


class Broken(AssertionError):
    """An invariant does not hold."""


def check(
    *,
    accepted: Mapping[str, str],
    calls: Sequence[Call],
    snapshot: redis.Redis,
    seen: Mapping[str, str | None],
) -> None:
    """Fail unless every accepted job ended once, with its own answer, for no more calls than attempts.

    Args:
        accepted: Acknowledged job id → digest of its request.
        calls: The upstream's view.
        snapshot: Redis at rest.
        seen: Job id → the answer's text a poller got first.
    """
    jobs = {job_id: snapshot.hgetall(f"rq:job:{job_id}") for job_id in accepted}
    _all_completed(jobs)
    _one_outcome_each(accepted, snapshot)
    _answers_fit(accepted, jobs, seen)
    _calls_within_attempts(calls, jobs)
    _nothing_left(snapshot)


def _all_completed(jobs: Mapping[str, dict[str, str]]) -> None:
    """I1, I21: accepted = completed, by id."""
    states = Counter(job.get("status", "lost") for job in jobs.values())
    if set(states) != {"finished"}:
        raise Broken(f"not every job completed: {dict(states)}")


def _one_outcome_each(accepted: Iterable[str], snapshot: redis.Redis) -> None:
    """I4, I17: one terminal event an id."""
    entries = [fields for _, fields in snapshot.xrange("chatq:events")]
    outcomes = Counter(json.loads(fields["outcome"])["job"] for fields in entries if "outcome" in fields)
    wrong = {job_id: outcomes[job_id] for job_id in accepted if outcomes[job_id] != 1}
    if wrong:
        raise Broken(f"{len(wrong)} jobs without exactly one outcome: {dict(list(wrong.items())[:5])}")


def _answers_fit(
    accepted: Mapping[str, str], jobs: Mapping[str, dict[str, str]], seen: Mapping[str, str | None]
) -> None:
    """I4, I6: the result belongs to its request, and is still what the first poller saw."""
    for job_id, digest in accepted.items():
        result: dict[str, Any] = json.loads(jobs[job_id]["cq_result"])
        text = result["choices"][0]["message"]["content"]
        if digest not in text:
            raise Broken(f"job {job_id} has somebody else's answer")
        if seen.get(job_id, text) != text:
            raise Broken(f"job {job_id}'s answer changed after it was read")


def _calls_within_attempts(calls: Sequence[Call], jobs: Mapping[str, dict[str, str]]) -> None:
    """I5: calls ≤ attempts ≤ limit, for each job."""
    made = Counter(call.job for call in calls)
    for job_id, job in jobs.items():
        attempts, limit = int(job["cq_attempts"]), int(job["cq_max"])
        if not 1 <= made[job_id] <= attempts <= limit:
            raise Broken(f"job {job_id}: {made[job_id]} calls, {attempts} attempts, limit {limit}")


def _nothing_left(snapshot: redis.Redis) -> None:
    """I3, I8: no lease, no running entry, nothing waiting at rest."""
    left = [
        key
        for pattern in ("chatq:leases", "rq:wip:*", "rq:queue:*", "rq:scheduled:*")
        for key in snapshot.scan_iter(pattern)
    ]
    if left:
        raise Broken(f"left at rest: {left}")
