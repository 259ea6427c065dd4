"""Models and chat completions through OpenAI's client (openai-wire §12: 1, 11)."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest

from simulator import text_digest
from tests.clients.samples import CITY, WEATHER
from tests.clients.served import Served

ASK: list[Any] = [{"role": "user", "content": "hi"}]
TOOLS: list[Any] = [{"type": "function", "function": WEATHER}]


def echo(model: str, text: str = "hi") -> str:
    """How the provider's answer begins."""
    return f"echo {text_digest(model, '', text)}"


def test_models_are_listed_and_found(client: openai.OpenAI) -> None:
    """Tiers among them; each can be asked for by its name, slashes and all."""
    models = {model.id: model for model in client.models.list()}
    assert "local_fast" in models
    for name in models:
        found = client.models.retrieve(name)
        assert (found.id, found.object) == (name, "model")
        assert isinstance(found.created, int) and found.owned_by


def test_unknown_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("kimi/nobody/knows")


@pytest.mark.parametrize(
    ("model", "upstream_model"), [("plain", "plain"), ("openrouter/a/b", "a/b"), ("openai/gpt", "gpt")]
)
def test_plain_answer(client: openai.OpenAI, model: str, upstream_model: str) -> None:
    """On each provider's wire; the answer says the model that was asked for."""
    answer = client.chat.completions.create(model=model, messages=ASK)
    choice = answer.choices[0]
    assert (choice.message.content or "").startswith(echo(upstream_model))
    assert (answer.object, choice.finish_reason, choice.message.role) == (
        "chat.completion",
        "stop",
        "assistant",
    )
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    assert answer.id.startswith("chatcmpl-") and answer.created > 0


def test_raw_answer_has_a_request_id(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="raw", messages=ASK)
    assert raw.headers["x-request-id"].startswith("req_")
    answer = raw.parse()
    assert answer._request_id == raw.headers["x-request-id"]
    assert (answer.choices[0].message.content or "").startswith(echo("raw"))


@pytest.mark.parametrize("model", ["streamed", "openrouter/streamed", "openai/streamed"])
def test_stream_adds_up(client: openai.OpenAI, model: str) -> None:
    """Every chunk has the same id; the role comes first, the reason last."""
    chunks = list(client.chat.completions.create(model=model, messages=ASK, stream=True))
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(delta.content or "" for delta in deltas).startswith(echo("streamed"))
    assert deltas[0].role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert len({(chunk.id, chunk.created, chunk.object) for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks)


def test_stream_ends_with_usage_if_asked_for(client: openai.OpenAI) -> None:
    """One more chunk, without a choice."""
    stream = client.chat.completions.create(
        model="usage", messages=ASK, stream=True, stream_options={"include_usage": True}
    )
    *before, last = stream
    assert last.choices == []
    assert last.usage is not None and last.usage.completion_tokens > 0
    assert all(chunk.usage is None for chunk in before)


@pytest.mark.parametrize("model", ["tools", "openrouter/tools"])
def test_streamed_tool_call_adds_up(client: openai.OpenAI, model: str) -> None:
    """The client's own accumulator puts the pieces together."""
    with client.chat.completions.stream(model=model, messages=ASK, tools=TOOLS) as stream:
        completion = stream.get_final_completion()
    calls = completion.choices[0].message.tool_calls
    assert calls is not None
    assert json.loads(calls[0].function.arguments)["city"].startswith(echo("tools"))
    assert completion.choices[0].finish_reason == "tool_calls"


def test_schema_and_tools_go_through(client: openai.OpenAI) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY, "strict": True}}
    answer = client.chat.completions.create(model="openrouter/form", messages=ASK, response_format=form)
    assert json.loads(answer.choices[0].message.content or "").keys() == {"city", "population"}
    called = client.chat.completions.create(model="openrouter/form", messages=ASK, tools=TOOLS)
    assert called.choices[0].finish_reason == "tool_calls"


def test_headers_that_need_no_code(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """`OPENAI_CUSTOM_HEADERS` sets lane, deadline and source."""
    monkeypatch.setenv(
        "OPENAI_CUSTOM_HEADERS", "X-Chatq-Lane: batch\nX-Chatq-Deadline: 1h\nX-Source: nightly-run"
    )
    with openai.OpenAI(base_url=served.base_url, api_key="any", max_retries=0) as client:
        client.chat.completions.create(model="custom-headers", messages=ASK)
    (call,) = served.upstream.calls("custom-headers")
    assert call["source"] == "nightly-run"


@pytest.mark.parametrize("tier", ["auto", "default", "flex", "priority"])
def test_service_tier_is_one_the_client_knows(client: openai.OpenAI, tier: Any) -> None:
    """Strict clients refuse any other word."""
    answer = client.chat.completions.create(model="tier", messages=ASK, service_tier=tier)
    assert answer.service_tier in (None, "auto", "default", "flex", "scale", "priority", "fast")


def test_held_answer_outlives_an_impatient_client(served: Served) -> None:
    """A client that bears 1 s of silence gets an answer after 2.5 s: blanks came meanwhile."""
    with openai.OpenAI(base_url=served.base_url, api_key="any", max_retries=0, timeout=1.0) as client:
        answer = client.chat.completions.create(model="sim-latency-2.5", messages=ASK)
    assert (answer.choices[0].message.content or "").startswith("echo ")


def test_held_stream_outlives_an_impatient_client(served: Served) -> None:
    """Comments do it in a stream."""
    with openai.OpenAI(base_url=served.base_url, api_key="any", max_retries=0, timeout=1.0) as client:
        stream = client.chat.completions.create(model="sim-latency-2.5", messages=ASK, stream=True)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert text.startswith("echo ")


def test_late_failure_is_an_error_under_status_200(served: Served) -> None:
    """The head is out by then; the SDK gives an object without choices, and the body has OpenAI's envelope."""
    with openai.OpenAI(base_url=served.base_url, api_key="any", max_retries=0, timeout=1.0) as client:
        raw = client.chat.completions.with_raw_response.create(
            model="openrouter/sim-fault-500-latency-0.6", messages=ASK
        )
    assert raw.status_code == 200
    assert raw.parse().choices is None
    assert set(json.loads(raw.text)["error"]) == {"message", "type", "param", "code"}


def test_late_failure_in_a_stream_is_raised(served: Served) -> None:
    with openai.OpenAI(base_url=served.base_url, api_key="any", max_retries=0, timeout=1.0) as client:
        stream = client.chat.completions.create(
            model="openrouter/sim-fault-500-latency-0.6", messages=ASK, stream=True
        )
        with pytest.raises(openai.APIError):
            list(stream)


def test_answer_can_be_fetched_later(served: Served) -> None:
    """`Prefer: respond-async` gives the job's address."""
    body = {"model": "later", "messages": ASK}
    accepted = httpx.post(
        f"{served.base_url}/chat/completions", json=body, headers={"Prefer": "respond-async"}
    )
    assert accepted.status_code == 202
    address = httpx.URL(served.url).join(accepted.headers["location"])
    job = httpx.get(address, params={"wait": 20}, timeout=30).json()
    assert job["status"] == "completed"
