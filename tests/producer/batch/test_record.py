"""Records: the shape of openai-wire §7.6, in ASCII."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.batch.line_cost import NOTHING
from producer.batch.reader import BadLine
from producer.batch.record import (
    Head,
    ascii_json,
    bad_line_record,
    error_code,
    is_answered,
    job_record,
    read_head,
)
from shared.job import JobError, JobState

from .memory_client import job

RUN = "0123456789abcdef"
BODY = {"id": "chatcmpl-1", "object": "chat.completion", "choices": [], "chatq": {"provider": "ollama"}}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)  # fmt: skip


def record(state: JobState, **fields: Any) -> dict[str, Any]:
    line = job_record(RUN, 7, "a", job("job-1", state, **fields), NOTHING)
    assert line.endswith(b"}\n")
    value: dict[str, Any] = json.loads(line)
    assert list(value) == ["id", "custom_id", "response", "error", "chatq"]
    assert (value["id"], value["custom_id"]) == (f"batch_req_{RUN}_7", "a")
    return value


@given(json_values)
def test_ascii_json_means_the_same(value: object) -> None:
    """Nothing above U+007F, and nothing lost."""
    encoded = ascii_json(value)
    assert encoded.isascii()
    assert json.loads(encoded) == value


def test_ascii_json_survives_splitlines() -> None:
    """Clients split at what Python calls a line end; an emoji becomes a surrogate pair."""
    text = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x1dh\x1ei 😀 \r\n"
    encoded = ascii_json({"text": text}).decode()
    assert len(encoded.splitlines()) == 1
    assert "\\ud83d\\ude00" in encoded
    assert json.loads(encoded) == {"text": text}


def test_answer_has_status_request_id_and_body() -> None:
    """The completion object as it is, chatq's record in it."""
    value = record(JobState.COMPLETED, response=BODY)
    assert value["response"] == {"status_code": 200, "request_id": "job-1", "body": BODY}
    assert value["error"] is None


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (429, "rate_limit_error"),
        (503, "server_error"),
    ],
)
def test_upstream_refusal_keeps_its_status(status: int, kind: str) -> None:
    """A response with OpenAI's error body; `error` is null."""
    error = JobError("request_refused", "no such model", status, "ollama", "m")
    value = record(JobState.FAILED, error=error)
    assert value["error"] is None
    assert value["response"]["status_code"] == status
    assert value["response"]["body"]["error"] == {
        "message": "no such model", "type": kind, "param": None, "code": "request_refused",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("state", "error", "code"),
    [
        (JobState.EXPIRED, JobError("expired", "too late", 503), "batch_expired"),
        (JobState.CANCELLED, None, "batch_cancelled"),
        (JobState.FAILED, JobError("connect_failed", "nobody there"), "connect_failed"),
        (JobState.FAILED, JobError("malformed", "no JSON", 200), "malformed"),
        (JobState.FAILED, None, "no_answer"),
        (JobState.COMPLETED, None, "no_answer"),
    ],
)
def test_line_without_an_answer_has_an_error(state: JobState, error: JobError | None, code: str) -> None:
    """No response, and a code that is no HTTP status; also after a broken 200."""
    value = record(state, error=error)
    assert value["response"] is None
    assert (value["error"]["code"], value["error"]["line"]) == (code, 7)
    ended = job("job-1", state, error=error)
    assert (is_answered(ended), error_code(ended)) == (False, code)


def test_bad_line_tells_its_number() -> None:
    """In words and as a field."""
    value = json.loads(bad_line_record(RUN, BadLine(9, "line-9", "invalid_json_line", "not JSON")))
    assert value["error"] == {"code": "invalid_json_line", "message": "line 9: not JSON", "line": 9}


@given(st.text(min_size=1), st.integers(1, 10**12))
def test_head_is_read_back(custom_id: str, number: int) -> None:
    """Whatever the custom id holds."""
    line = job_record(RUN, number, custom_id, job("j", JobState.CANCELLED), NOTHING)
    assert read_head(line) == Head(RUN, number, custom_id)


def test_answer_may_be_as_deep_as_json_goes() -> None:
    """A nesting that the worker could store can be written, too."""
    deep: dict[str, Any] = {}
    for _ in range(252):
        deep = {"a": deep}
    line = job_record(RUN, 1, "a", job("j", JobState.COMPLETED, response=deep), NOTHING)
    assert json.loads(line)["response"]["body"] == deep


@pytest.mark.parametrize(
    "line", [b"", b"{}\n", b'{"id":"x"}\n', b'{"id":"batch_req_1","custom_id":"a"}\n', b"text\n"]
)
def test_foreign_line_has_no_head(line: bytes) -> None:
    """What `chatq run` did not write is not taken for its own."""
    assert read_head(line) is None
