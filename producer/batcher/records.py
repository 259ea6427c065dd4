"""Records of a batch's lines, in the shape that its endpoint's clients read (openai-wire §7.6)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from producer.batch.gate import PRICE_UNKNOWN
from producer.batch.outcome import Ended, Outcome
from producer.batch.record import (
    BUDGET_REACHED,
    bad_line_record,
    error_code,
    is_answered,
    job_record,
    refused_line_record,
)
from producer.responses.answer import response_object
from shared.job import Job, JobState
from shared.store.batch_record import Progress

EXPIRED, CANCELLED = "batch_expired", "batch_cancelled"
"""Codes of lines that were not run, or not to an end."""

NOT_RUN = (EXPIRED, CANCELLED, BUDGET_REACHED, PRICE_UNKNOWN)
"""Codes that are no refusal of a request."""


class Encoded(NamedTuple):
    """Records, and how far the batch is with them."""

    answers: list[bytes]
    failures: list[bytes]
    progress: Progress


class LineRecords:
    """Makes records.

    Args:
        run: Part of every record's id: the batch's id without its prefix.

    Attributes:
        is_expiring: Whether jobs are cancelled because the batch's time is over.
    """

    def __init__(self, run: str) -> None:
        self.is_expiring = False
        self._run = run

    def encode(self, group: Iterable[Outcome], progress: Progress) -> Encoded:
        """The records of some outcomes."""
        done = Encoded([], [], replace(progress, errors=dict(progress.errors)))
        for one in group:
            if isinstance(one, Ended):
                self._add_job(one, done)
            else:
                is_unrun = one.code in NOT_RUN
                record = (bad_line_record if is_unrun else refused_line_record)(self._run, one)
                _add_failure(record, one.code, done)
        done.progress.output_bytes += sum(map(len, done.answers))
        done.progress.error_bytes += sum(map(len, done.failures))
        return done

    def _add_job(self, one: Ended, done: Encoded) -> None:
        job, progress = self._as_told(one.job), done.progress
        progress.cost_usd += one.cost.usd
        progress.cost_unknown += one.cost.unknown
        record = job_record(self._run, one.line.number, one.line.custom_id, _shaped(one, job), one.cost)
        if not is_answered(job):
            _add_failure(record, error_code(job), done)
            return
        done.answers.append(record)
        progress.completed += 1
        usage = ((job.response or {}).get("chatq") or {}).get("usage") or {}
        progress.input_tokens += usage.get("input_total") or 0
        progress.cached_tokens += usage.get("input_cached") or 0
        progress.output_tokens += usage.get("output_total") or 0
        progress.reasoning_tokens += usage.get("reasoning") or 0

    def _as_told(self, job: Job) -> Job:
        is_cut = self.is_expiring and job.state is JobState.CANCELLED
        return replace(job, state=JobState.EXPIRED) if is_cut else job


def _shaped(one: Ended, job: Job) -> Job:
    """The job with its answer as the endpoint has it."""
    if one.line.asked is None or not is_answered(job):
        return job
    return replace(job, response=response_object(one.line.asked, job, created_at=job.created_at or 0.0))


def _add_failure(record: bytes, code: str, done: Encoded) -> None:
    done.failures.append(record)
    done.progress.failed += 1
    done.progress.errors[code] = done.progress.errors.get(code, 0) + 1
