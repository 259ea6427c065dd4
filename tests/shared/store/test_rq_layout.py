"""RQ's format, held to the installed RQ."""

from __future__ import annotations

import base64
import zlib

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


@pytest.mark.parametrize("value", [None, b"", b"yesterday", b"\xff"])
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


def test_strange_finer_state_is_ignored() -> None:
    """A word that is none of ours leaves RQ's status."""
    assert rq_layout.state_of(b"failed", b"\xff") is JobState.FAILED
    assert rq_layout.state_of(b"finished", b"melted") is JobState.COMPLETED


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("expired", JobState.EXPIRED),
        ("canceled", JobState.CANCELLED),
        ("stopped", JobState.CANCELLED),
        ("finished", JobState.COMPLETED),
        ("failed", JobState.FAILED),
        ("melted", None),
    ],
)
def test_words_of_both_have_a_state(word: str, state: JobState | None) -> None:
    """chatq's words and RQ's; None for a word of neither."""
    assert rq_layout.state_named(word) is state


@pytest.mark.parametrize(("value", "number"), [(None, None), (b"", None), (b"x", None), (b"-7", -7)])
def test_unreadable_number_is_none(value: bytes | None, number: int | None) -> None:
    """As with dates."""
    assert rq_layout.parse_int(value) == number


def test_result_entries_are_read_back() -> None:
    """An answer and a traceback, as RQ's result stream holds them."""
    assert rq_layout.decode_result_entry({b"return_value": rq_layout.encode_result(b"{}")}) == (b"{}", None)
    assert rq_layout.decode_result_entry({b"exc_string": rq_layout.encode_traceback("no")}) == (None, "no")


@pytest.mark.parametrize(
    "entry",
    [
        {b"return_value": b"a"},
        {b"exc_string": b"a"},
        {b"exc_string": base64.b64encode(b"no zlib")},
        {b"exc_string": base64.b64encode(zlib.compress(bytes(rq_layout.MAX_RESULT_BYTES + 1)))},
    ],
)
def test_unreadable_result_entry_is_one_error(entry: dict[bytes, bytes]) -> None:
    """Bad base64, bad zlib and a decompression bomb are a ValueError, at a bounded cost."""
    with pytest.raises(ValueError, match=r"base64|padding|zlib|over|encoded"):
        rq_layout.decode_result_entry(entry)
