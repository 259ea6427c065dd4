"""Jobs as Response objects: OpenAI's own models, read strictly, accept each."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.responses import Response
from openai.types.responses.response_item_list import ResponseItemList

from producer.responses.answer import response_object
from producer.responses.items import shown_items
from shared.job import JobError, JobState
from tests.producer.responses.completions import CREATED_AT, JOB_ID, asked, completion, job

TOOL = {
    "type": "function",
    "name": "f",
    "parameters": {"type": "object"},
    "strict": True,
    "description": "d",
}

FULL: dict[str, Any] = {
    "instructions": "be brief",
    "background": True,
    "store": False,
    "metadata": {"a": "b"},
    "max_output_tokens": 9,
    "max_tool_calls": 2,
    "parallel_tool_calls": False,
    "temperature": 0.5,
    "top_p": 0.5,
    "top_logprobs": 2,
    "reasoning": {"effort": "low", "summary": "auto"},
    "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}, "verbosity": "low"},
    "tools": [TOOL],
    "tool_choice": {"type": "function", "name": "f"},
    "truncation": "auto",
    "service_tier": "flex",
    "user": "u",
    "safety_identifier": "s",
    "prompt_cache_key": "k",
    "previous_response_id": "resp_0",
}


def answered(message: dict[str, Any], finish_reason: str = "stop", **choice: Any) -> Any:
    return shown(response=completion(message, finish_reason, **choice))


def shown(
    state: JobState = JobState.COMPLETED, fields: dict[str, Any] | None = None, **job_fields: Any
) -> Any:
    """Typed loosely: the models are unions of everything that OpenAI has."""
    found = response_object(asked(**(fields or {})), job(state, **job_fields), created_at=CREATED_AT)
    return Response.model_validate(found)


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (JobState.QUEUED, "queued"),
        (JobState.IN_PROGRESS, "in_progress"),
        (JobState.FAILED, "failed"),
        (JobState.EXPIRED, "failed"),
        (JobState.CANCELLED, "cancelled"),
    ],
)
def test_states_without_an_answer(state: JobState, status: str) -> None:
    found = shown(state)
    assert (found.id, found.status, found.output, found.usage) == (f"resp_{JOB_ID}", status, [], None)
    assert (found.error is not None) == (status == "failed")
    assert found.completed_at is None


def test_request_is_repeated() -> None:
    found = shown(JobState.QUEUED, FULL).model_dump(mode="json", by_alias=True, exclude_none=True)
    changed = {"truncation": "disabled"}  # what is done
    for name, value in {**FULL, **changed}.items():
        assert found[name] == value, name


def test_defaults_are_filled_in() -> None:
    found = shown(JobState.QUEUED)
    assert (found.parallel_tool_calls, found.tool_choice, found.tools) == (True, "auto", [])
    assert (found.background, found.metadata, found.truncation) == (False, {}, "disabled")


def test_what_was_said() -> None:
    found = answered({"content": "hello"})
    assert (found.status, found.output_text, found.completed_at) == ("completed", "hello", CREATED_AT + 2)


def test_thoughts_and_calls_are_items() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    found = answered(
        {"content": "look", "reasoning_content": "hm", "tool_calls": [call]}, "tool_calls"
    ).output
    assert [item.type for item in found] == ["reasoning", "message", "function_call"]
    assert found[0].content[0].text == "hm"
    assert (found[2].call_id, found[2].arguments) == ("call_1", '{"a":1}')


def test_calls_alone_need_no_message() -> None:
    call = {"id": None, "function": {"name": "f", "arguments": {"a": 1}}}
    (item,) = answered({"content": None, "tool_calls": [call]}).output
    assert item.arguments == '{"a":1}'
    assert item.call_id.startswith("call_")


def test_empty_answer_is_an_empty_message() -> None:
    assert answered({"content": None}).output_text == ""


def test_refusal_is_a_part() -> None:
    (item,) = answered({"content": None, "refusal": "no"}).output
    assert item.content[0].refusal == "no"


@pytest.mark.parametrize(
    ("finish_reason", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
def test_answer_that_stops_short_is_incomplete(finish_reason: str, reason: str) -> None:
    found = answered({"content": "half"}, finish_reason)
    assert found.incomplete_details is not None
    assert (found.status, found.incomplete_details.reason) == ("incomplete", reason)
    assert found.output[0].status == "incomplete"


def test_logprobs_and_citations_come_along() -> None:
    tokens = [{"token": "é", "logprob": -0.5, "bytes": None, "top_logprobs": [{"token": "e", "logprob": -1}]}]
    cited = {"type": "url_citation", "url_citation": {"url": "http://x", "title": "X", "start_index": 0}}
    found = answered({"content": "é", "annotations": [cited, {"type": "?"}]}, logprobs={"content": tokens})
    (part,) = found.output[0].content
    assert part.logprobs[0].bytes == [195, 169]
    assert [annotation.url for annotation in part.annotations] == ["http://x"]


def test_usage_has_every_number() -> None:
    found = answered({"content": "x"}).usage
    assert found is not None
    assert found.model_dump(exclude_none=True) == {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 7,
    }


def test_usage_is_chatqs_record_of_it() -> None:
    """It counts what was read from and written to the cache in the same way for all providers."""
    counted = {
        "input_total": 10,
        "input_cached": 5,
        "input_cache_write": 2,
        "output_total": 6,
        "reasoning": 4,
    }
    found = shown(response={**completion({"content": "x"}), "chatq": {"usage": counted}}).usage
    assert found is not None
    assert (found.input_tokens_details.cached_tokens, found.input_tokens_details.cache_write_tokens) == (5, 2)
    assert (found.total_tokens, found.output_tokens_details.reasoning_tokens) == (16, 4)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (JobError("context_too_long", "m", 400), "invalid_prompt"),
        (JobError("rate_limited", "m", 429), "rate_limit_exceeded"),
        (JobError("proxy_error", "m", 429), "rate_limit_exceeded"),
        (JobError("overloaded", "m", 503), "server_error"),
        (JobError("credential_rejected", "m", 401), "server_error"),
    ],
)
def test_errors_have_the_words_strict_clients_know(error: JobError, code: str) -> None:
    found = shown(JobState.FAILED, error=error)
    assert found.error is not None
    assert (found.error.code, found.error.message) == (code, "m")
    assert found.model_extra is not None
    assert found.model_extra["chatq"]["error"]["code"] == error.code


@pytest.mark.parametrize("broken", [{}, {"choices": []}, {"choices": ["x"]}, {"choices": [{"message": 5}]}])
def test_broken_answer_is_an_empty_one(broken: dict[str, Any]) -> None:
    assert shown(response={**broken, "usage": [], "chatq": 5}).output_text == ""


def test_input_items_are_complete() -> None:
    items: list[dict[str, Any]] = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": [{"type": "input_image", "image_url": "http://x"}], "id": "mine"},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "x"},
        {"type": "reasoning"},
        {"role": "user", "content": "twice", "id": "mine"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "x"}]},
    ]
    found = shown_items(items, "resp_1", ["earlier"])
    ids = [item["id"] for item in found]
    page = {"object": "list", "data": found, "first_id": ids[0], "last_id": ids[-1], "has_more": False}
    ResponseItemList.model_validate(page)
    assert ids[2] == "mine"
    assert len({*ids, "earlier"}) == len(items) + 1
    assert shown_items(items, "resp_1", ["earlier"]) == found
