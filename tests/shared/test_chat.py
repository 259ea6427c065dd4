"""The chat schema at the producer's edge."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from shared.chat import encode_request, parse_request
from shared.errors import InvalidRequest, RequestTooLarge

GOOD: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def test_request_comes_out_as_it_went_in() -> None:
    """Every known field, parts, tool calls, and fields chatq does not know."""
    request = {
        "model": "m",
        "messages": [
            {"role": "system", "content": "s", "name": "n"},
            {"role": "user", "content": [{"type": "text", "text": "t"}, {"type": "image_url", "image_url": {}}]},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": {}}]},
            {"role": "tool", "content": "r", "tool_call_id": "1"},
        ],
        "max_tokens": 5, "temperature": 0.5, "top_p": 1, "stop": ["a"], "seed": 0, "format": "json",
        "response_format": {"type": "json_object"}, "tools": [{}], "tool_choice": "auto", "reasoning_effort": "low",
        "think": False, "stream": False, "top_k": 40, "provider": {"order": ["x"]},
    }  # fmt: skip
    assert orjson.loads(encode_request(parse_request(request), max_bytes=10_000)) == request


def test_absent_fields_stay_absent() -> None:
    """What was not asked for is not sent."""
    assert parse_request(GOOD).body() == GOOD


def test_same_request_has_same_json_everywhere() -> None:
    """Idempotency compares digests between processes: the order is the schema's, not a set's."""
    request = {"temperature": 0.5, "seed": 1, **GOOD, "zeta": 1, "alpha": 2}
    assert list(parse_request(request).body()) == [
        "model",
        "messages",
        "temperature",
        "seed",
        "zeta",
        "alpha",
    ]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"model": 7}, "model"),
        ({"model": "x" * 300}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages.0"),
        ({"messages": [{"content": "hi"}]}, "messages.0.role"),
        ({"messages": [{"role": "robot", "content": "hi"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"text": "no type"}]}]}, "messages.0.content"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"top_p": -1}, "top_p"),
        ({"stop": 5}, "stop"),
        ({"seed": 1.5}, "seed"),
        ({"format": "yaml"}, "format"),
        ({"tools": {}}, "tools"),
        ({"stream": True}, "stream"),
    ],
)
def test_bad_field_is_named(change: dict[str, Any], field: str) -> None:
    """One line that says which field and what is wrong with it, without the value."""
    with pytest.raises(InvalidRequest) as caught:
        parse_request({**GOOD, **change})
    assert (caught.value.field or "").startswith(field)
    assert str(caught.value).startswith(field)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [None, [], "x", 7])
def test_other_json_is_no_request(data: Any) -> None:
    """A request is an object."""
    with pytest.raises(InvalidRequest, match="JSON object"):
        parse_request(data)


def test_error_never_quotes_the_prompt() -> None:
    """A message of somebody's must not end up in a log by way of an error."""
    with pytest.raises(InvalidRequest) as caught:
        parse_request({**GOOD, "messages": [{"role": "private role", "content": "private text"}]})
    assert "private" not in str(caught.value)


def test_body_over_the_limit_is_refused() -> None:
    """The error states both sizes."""
    with pytest.raises(RequestTooLarge, match=r"the limit is 1,000"):
        encode_request(parse_request({**GOOD, "user": "x" * 2000}), max_bytes=1000)


def test_text_without_unicode_form_is_refused() -> None:
    """A lone surrogate has no JSON form."""
    with pytest.raises(InvalidRequest, match="written as JSON"):
        encode_request(parse_request({**GOOD, "user": "\ud800"}), max_bytes=1000)
