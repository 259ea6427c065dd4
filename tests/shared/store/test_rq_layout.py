"""RQ's format, held to the installed RQ."""

from __future__ import annotations

import pytest
from rq.job import JobStatus
from rq.serializers import JSONSerializer
from rq.utils import utcformat, utcparse

from shared.job import JobState
from shared.store import rq_layout


def test_call_is_what_rqs_serializer_reads() -> None:
    """The four-list, as JSONSerializer would have written it."""
    call = JSONSerializer.loads(rq_layout.encode_call(b'{"model":"m"}'))
    assert call == ["worker.tasks.chat", None, [{"model": "m"}], {}]


def test_dates_are_rqs() -> None:
    """Both ways, to the microsecond."""
    written = rq_layout.format_date(1_795_235_592.615714)
    parsed = utcparse(written)
    assert utcformat(parsed) == written
    assert rq_layout.parse_date(written.encode()) == parsed.timestamp()


@pytest.mark.parametrize("value", [None, b"", b"yesterday"])
def test_unreadable_date_is_none(value: bytes | None) -> None:
    """Redis content is untrusted; a date is never worth an error."""
    assert rq_layout.parse_date(value) is None


@pytest.mark.parametrize("status", list(JobStatus))
def test_every_rq_status_has_a_public_state(status: JobStatus) -> None:
    """A status that RQ may write is a state that a poller may see."""
    assert rq_layout.state_of(status.value.encode(), None) in JobState


def test_finer_state_counts_for_ended_jobs_only() -> None:
    """`expired` is `failed` to RQ; after RQ's requeue the old word is void."""
    assert rq_layout.state_of(b"failed", b"expired") is JobState.EXPIRED
    assert rq_layout.state_of(b"queued", b"expired") is JobState.QUEUED
