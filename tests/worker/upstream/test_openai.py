"""The `openai` wire: what is sent, what is read, and what counts as no answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest
from pydantic import SecretStr

from shared.errors import CandidateUnfit, CredentialRejected, RateLimited, RequestRefused, UpstreamUnavailable
from shared.observed_limits import ObservedLimits
from tests.worker.upstream.loopback import GOOD, chat_request
from worker.upstream.openai import OPENAI, completion, request_body

Ask = Any


def choice(**fields: object) -> dict[str, Any]:
    """A good answer whose first choice has other fields."""
    return {**GOOD, "choices": [{**GOOD["choices"][0], **fields}]}  # type: ignore[index]


def usage_of(**usage: object) -> dict[str, Any]:
    return dict(completion({**GOOD, "usage": usage}, "m").usage)


SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}

REQUESTS = [
    ({}, {}),
    ({"max_tokens": 5, "stop": ["x"], "seed": 1}, {"max_tokens": 5, "stop": ["x"], "seed": 1}),
    ({"max_completion_tokens": 5}, {"max_completion_tokens": 5}),
    ({"provider": {"order": ["a"]}, "top_k": 3}, {"provider": {"order": ["a"]}, "top_k": 3}),
    ({"format": "json"}, {"response_format": {"type": "json_object"}}),
    (
        {"format": SCHEMA},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}},
    ),
    ({"format": "text"}, {}),
    ({"format": "json", "response_format": {"type": "text"}}, {"response_format": {"type": "text"}}),
    ({"think": True}, {}),
    ({"think": False}, {}),
    ({"think": "low"}, {"reasoning_effort": "low"}),
    ({"think": "low", "reasoning_effort": "high"}, {"reasoning_effort": "high"}),
    ({"temperature": None, "tools": None}, {}),
    ({"stream": False}, {}),
]


@pytest.mark.parametrize(("fields", "sent"), REQUESTS)
def test_request_fields_reach_the_wire(fields: dict[str, Any], sent: dict[str, Any]) -> None:
    """OpenAI's own and unknown fields pass through; chatq's short forms are translated; nulls stay home."""
    body = request_body(chat_request(**fields), "upstream/model", {})
    messages = [{"role": "user", "content": "hi"}]
    assert body == {"model": "upstream/model", "messages": messages, "stream": False, **sent}


def test_extra_body_lies_under_the_request() -> None:
    """The provider's fields fill in; what the request says itself wins."""
    extra = {"temperature": 1, "top_k": 5, "model": "other", "stream": True}
    body = request_body(chat_request(temperature=0.5), "m", extra)
    assert (body["temperature"], body["top_k"], body["model"], body["stream"]) == (0.5, 5, "m", False)


async def test_answer_carries_chatq_record(ask: Ask) -> None:
    """The ChatCompletion object comes back whole, with chatq's record beside it."""
    answer = await ask(httpx.Response(200, json={**GOOD, "system_fingerprint": "fp"}))
    record = answer.response.pop("chatq")
    assert answer.response == {**GOOD, "system_fingerprint": "fp"}
    assert 0 <= answer.ttfb_s <= record.pop("latency_s") < 5
    assert answer.observed is None
    assert record == {
        "provider": "test",
        "upstream_model": "m",
        "finish_reason": "stop",
        "usage": {
            "input_total": 7, "input_cached": None, "input_cache_write": None,
            "output_total": 2, "reasoning": None, "cost_usd": None,
        },
    }  # fmt: skip


USAGES = [
    ({"prompt_tokens_details": {"cached_tokens": 3}}, {"input_cached": 3}),
    ({"cached_tokens": 4}, {"input_cached": 4}),
    ({"prompt_tokens_details": {}, "cached_tokens": 4}, {"input_cached": 4}),
    ({"prompt_cache_hit_tokens": 5}, {"input_cached": 5}),
    ({"completion_tokens_details": {"reasoning_tokens": 6}}, {"reasoning": 6}),
    ({"completion_tokens_details": None, "prompt_tokens_details": None}, {}),
    ({"cost": 0.00095}, {"cost_usd": 0.00095}),
    ({"cost": 0}, {"cost_usd": 0.0}),
    ({"cost_in_usd_ticks": 12_345_678}, {"cost_usd": 0.0012345678}),
    ({"cost_in_usd_ticks": "many"}, {}),
    (
        {"prompt_tokens_details": {"cached_tokens": 9}, "prompt_tokens": 7},
        {"input_total": 7, "input_cached": 7},
    ),
    ({"prompt_tokens_details": {"cache_write_tokens": 4}}, {"input_cache_write": 4}),
    ({"cost": -1}, {}),
    ({"prompt_tokens": "7", "completion_tokens": -2, "cost": "free"}, {}),
    ({"prompt_tokens": 7.0, "completion_tokens": True}, {"input_total": 7}),
]


@pytest.mark.parametrize(("stated", "read"), USAGES)
def test_usage_dialects_are_normalised(stated: dict[str, Any], read: dict[str, Any]) -> None:
    """Each provider's spelling ends in the same record; nonsense ends in None."""
    known = {name: value for name, value in usage_of(**stated).items() if value is not None}
    assert known == read


def test_opencode_cost_is_text_at_the_top() -> None:
    """OpenCode states the price beside the usage, as text."""
    assert completion({**GOOD, "cost": "0.00012300"}, "m").usage["cost_usd"] == 0.000123


TIMINGS = [
    ({"prompt_n": 5, "cache_n": 2, "predicted_n": 3}, {}, (7, 2, 3)),
    ({"prompt_n": 5, "predicted_n": 3}, {}, (5, None, 3)),
    (
        {"prompt_n": 5, "cache_n": 2, "predicted_n": 3},
        {"prompt_tokens": 9, "completion_tokens": 4},
        (9, 2, 4),
    ),
    ({}, {"prompt_tokens": 9}, (9, None, None)),
    (5, {}, (None, None, None)),
]


@pytest.mark.parametrize(("timings", "usage", "read"), TIMINGS)
def test_llama_cpp_timings_stand_in_for_usage(
    timings: Any, usage: dict[str, int], read: tuple[int | None, ...]
) -> None:
    """Its own counters fill what its `usage` leaves out; what was cached counts as input."""
    counted = completion({**GOOD, "usage": usage, "timings": timings}, "m").usage
    assert (counted["input_total"], counted["input_cached"], counted["output_total"]) == read


@pytest.mark.parametrize("usage", [None, [], "many"])
def test_missing_usage_is_unknown(usage: object) -> None:
    """An answer without usage is an answer; its tokens are unknown, not zero."""
    assert set(completion({**GOOD, "usage": usage}, "m").usage.values()) == {None}


def test_missing_envelope_is_completed() -> None:
    """Clients count on id, object, created and model, also where a server leaves them out."""
    response = completion({"choices": GOOD["choices"]}, "m").response
    assert response["id"].startswith("chatcmpl-")
    assert (response["object"], response["model"], response["created"] > 0) == ("chat.completion", "m", True)


@pytest.mark.parametrize(("stated", "read"), [("length", "length"), ("odd", "odd"), ("", None), (None, None)])
def test_finish_reason_is_kept(stated: str | None, read: str | None) -> None:
    """Unknown words are kept; an empty or missing one is None."""
    assert completion(choice(finish_reason=stated), "m").finish_reason == read


def test_filtered_content_that_is_left_is_an_answer() -> None:
    """A filter that cut the end off is told by the finish reason; what came before was paid for."""
    assert completion(choice(finish_reason="content_filter"), "m").finish_reason == "content_filter"


def test_tool_calls_without_content_are_an_answer() -> None:
    """Content may be null beside tool calls."""
    message = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    answered = completion(choice(message=message, finish_reason="tool_calls"), "m")
    assert answered.response["choices"][0]["message"] == message


NO_ANSWERS = [
    ({}, UpstreamUnavailable, "no_choices"),
    ({"choices": []}, UpstreamUnavailable, "no_choices"),
    ({"choices": None}, UpstreamUnavailable, "no_choices"),
    ({"choices": {"0": 1}}, UpstreamUnavailable, "malformed"),
    ({"choices": ["text"]}, UpstreamUnavailable, "malformed"),
    ({"choices": [{"text": "old"}]}, UpstreamUnavailable, "malformed"),
    (choice(message={"content": 5}), UpstreamUnavailable, "malformed"),
    (choice(finish_reason=7), UpstreamUnavailable, "malformed"),
    (choice(finish_reason="error"), UpstreamUnavailable, "error_in_answer"),
    (choice(finish_reason="error", native_finish_reason={"a": 1}), UpstreamUnavailable, "error_in_answer"),
    (choice(finish_reason="insufficient_system_resource"), UpstreamUnavailable, "interrupted"),
    (choice(finish_reason="repetition_truncation"), UpstreamUnavailable, "repetition"),
    (choice(finish_reason="content_filter", message={"content": ""}), CandidateUnfit, "content_refused"),
    (choice(finish_reason="content_filter", message=None), CandidateUnfit, "content_refused"),
    (
        choice(error={"code": 429, "message": "x", "metadata": {"provider_name": "X"}}),
        RateLimited,
        "rate_limited",
    ),
    (choice(error={"code": 502, "message": "Bad"}), UpstreamUnavailable, "server_error"),
    (choice(error={"code": 429, "message": "slow"}), RateLimited, "rate_limited"),
    ({"error": "broken"}, UpstreamUnavailable, "error_in_answer"),
    ({"error": {"message": "broken", "code": None}}, UpstreamUnavailable, "error_in_answer"),
    ({"error": {"message": "no", "code": "401"}}, CredentialRejected, "credential_rejected"),
    ({"error": {"message": "no", "code": 400}, **GOOD}, RequestRefused, "request_refused"),
    ([{"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}], UpstreamUnavailable, "server_error"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "kind", "code"), NO_ANSWERS)
async def test_200_without_an_answer_fails(ask: Ask, body: Any, kind: type, code: str) -> None:
    """A 200 that holds an error, or no usable choice, is never a success."""
    with pytest.raises(kind) as caught:
        await ask(httpx.Response(200, json=body))
    assert (type(caught.value), caught.value.code) == (kind, code)


async def test_path_is_appended_to_the_base(ask: Ask) -> None:
    """The base URL keeps its own path."""
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=GOOD)

    await ask(handler, base_url="https://openrouter.test/api/v1")
    assert (seen[0].method, str(seen[0].url)) == ("POST", "https://openrouter.test/api/v1/chat/completions")


async def test_opencode_gets_a_stable_session(ask: Ask) -> None:
    """OpenCode wants one id a conversation: the job's, the same on each attempt; others get none."""
    seen: list[httpx.Headers] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers)
        return httpx.Response(200, json=GOOD)

    for quirks in (("opencode_session",), ()):
        await ask(handler, quirks=quirks, labels={"X-Chatq-Job": "job-7"})
    assert [headers.get("x-opencode-session") for headers in seen] == ["job-7", None]


class Slow(httpx.AsyncByteStream):
    """A body that is `seconds` later than its head."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def __aiter__(self) -> AsyncIterator[bytes]:
        await asyncio.sleep(self.seconds)
        yield orjson.dumps(GOOD)


async def test_time_to_the_head_leaves_the_body_out(ask: Ask) -> None:
    """A slow body counts in the latency only."""
    answer = await ask(httpx.Response(200, stream=Slow(0.05)))
    assert answer.response["chatq"]["latency_s"] - answer.ttfb_s >= 0.04


async def test_answer_states_the_limits_it_saw(ask: Ask) -> None:
    """Rate headers of a good answer come along, so that they can correct what is believed."""
    headers = {
        "x-RateLimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
    }
    answer = await ask(httpx.Response(200, json=GOOD, headers=headers))
    assert answer.observed == ObservedLimits(60, 59, None, None)


async def test_no_key_sends_no_authorization(ask: Ask) -> None:
    """A local server without a key gets no empty Bearer."""

    def handler(request: httpx.Request) -> httpx.Response:
        assert "authorization" not in request.headers
        return httpx.Response(200, json=GOOD)

    await ask(handler, key=None)


async def test_provider_headers_win(ask: Ask) -> None:
    """A header of the provider replaces the wire's, whatever its case."""

    def handler(request: httpx.Request) -> httpx.Response:
        got = {name: request.headers.get_list(name) for name in ("user-agent", "authorization", "x-title")}
        assert got == {"user-agent": ["mine"], "authorization": ["Basic abc"], "x-title": ["t"]}
        return httpx.Response(200, json=GOOD)

    headers = {"USER-AGENT": "mine", "authorization": "Basic abc", "X-Title": "t"}
    await ask(handler, headers=headers, key=SecretStr("unused-key"))


async def test_unwritable_request_is_refused(ask: Ask) -> None:
    """A request that has no JSON form is the job's fault, and is not sent."""
    with pytest.raises(RequestRefused, match="JSON"):
        await ask(httpx.Response(200, json=GOOD), chat_request(metadata={"n": 2**70}))


def test_wire_path_is_chat_completions() -> None:
    """The path of the wire is the base's (provider-wire.md §0)."""
    assert OPENAI.path == "/chat/completions"
