"""Responses through OpenAI's client: foreground, background, streamed, resumed (openai-wire §12: 7, 8)."""

from __future__ import annotations

import time
from typing import Any

import openai
import pytest
from openai.types.responses import Response

from simulator import text_digest
from tests.clients.samples import WEATHER

TOOLS: Any = [{"type": "function", **WEATHER, "strict": False}]

MODELS = ["response", "openrouter/response", "openai/response"]
"""Translated to chat on two wires; the provider of the last has responses of its own."""


def echo(model: str, text: str = "hi") -> str:
    return f"echo {text_digest(model, '', text)}"


def until_ended(client: openai.OpenAI, response_id: str) -> list[Response]:
    """Poll as people do; all that was seen."""
    give_up_at = time.monotonic() + 20
    seen = [client.responses.retrieve(response_id)]
    while seen[-1].status in ("queued", "in_progress"):
        assert time.monotonic() < give_up_at, seen[-1]
        time.sleep(0.02)
        seen.append(client.responses.retrieve(response_id))
    return seen


@pytest.mark.parametrize("model", MODELS)
def test_foreground_answer(client: openai.OpenAI, model: str) -> None:
    """With complete usage, and stored."""
    made = client.responses.create(model=model, input="hi")
    assert made.status == "completed" and made.error is None
    assert made.output_text.startswith(echo("response"))
    assert made.id.startswith("resp_") and made.object == "response"
    assert made.usage is not None
    assert made.usage.total_tokens == made.usage.input_tokens + made.usage.output_tokens > 0
    assert made.usage.input_tokens_details.cached_tokens >= 0
    assert made.usage.input_tokens_details.cache_write_tokens >= 0
    assert made.usage.output_tokens_details.reasoning_tokens >= 0
    again = client.responses.retrieve(made.id)
    assert (again.id, again.output_text) == (made.id, made.output_text)
    Response.model_validate(again.model_dump())


@pytest.mark.parametrize("model", MODELS)
def test_tool_call_comes_back_with_its_result(client: openai.OpenAI, model: str) -> None:
    """First the call, after its result words."""
    first = client.responses.create(model=model, input="hi", tools=TOOLS)
    (call,) = [item for item in first.output if item.type == "function_call"]
    assert call.name == "get_weather" and call.call_id
    turns: Any = [
        {"role": "user", "content": "hi"},
        {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments},
        {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"},
    ]
    assert client.responses.create(model=model, input=turns, tools=TOOLS).output_text.startswith("echo ")


@pytest.mark.parametrize("model", ["openrouter/sim-latency-0.3", "openai/sim-latency-0.3"])
def test_background_goes_from_queued_to_completed(client: openai.OpenAI, model: str) -> None:
    """Answered at once, with an empty output; a worker may have begun by then."""
    made = client.responses.create(model=model, input="hi", background=True)
    assert made.status in ("queued", "in_progress")
    assert (made.output, made.usage) == ([], None)
    seen = until_ended(client, made.id)
    assert {each.status for each in seen} <= {"queued", "in_progress", "completed"}
    assert seen[-1].status == "completed" and seen[-1].output_text.startswith("echo ")
    assert seen[-1].background is True


def test_background_without_store_can_be_polled(client: openai.OpenAI) -> None:
    """inspect-ai asks so."""
    made = client.responses.create(model="openrouter/no-store", input="hi", background=True, store=False)
    assert until_ended(client, made.id)[-1].status == "completed"


def test_failed_background_says_why_in_words_clients_know(client: openai.OpenAI) -> None:
    made = client.responses.create(model="openrouter/sim-fault-500", input="hi", background=True)
    ended = until_ended(client, made.id)[-1]
    assert ended.status == "failed" and ended.error is not None
    assert ended.error.code in ("server_error", "rate_limit_exceeded", "invalid_prompt")
    Response.model_validate(ended.model_dump())


def test_cancel_twice_changes_nothing_more(client: openai.OpenAI) -> None:
    made = client.responses.create(model="openrouter/sim-latency-30", input="hi", background=True)
    first = client.responses.cancel(made.id)
    assert (first.id, first.status) == (made.id, "cancelled")
    assert client.responses.cancel(made.id).status == "cancelled"
    assert client.responses.retrieve(made.id).status == "cancelled"


def test_completed_response_is_not_cancelled(client: openai.OpenAI) -> None:
    """The final object comes back as it is."""
    made = client.responses.create(model="openrouter/too-late", input="hi", background=True)
    until_ended(client, made.id)
    assert client.responses.cancel(made.id).status == "completed"


def test_deleted_response_is_gone(client: openai.OpenAI) -> None:
    made = client.responses.create(model="response", input="hi")
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_unknown_response_is_not_found(client: openai.OpenAI) -> None:
    for call in (client.responses.retrieve, client.responses.cancel, client.responses.delete):
        with pytest.raises(openai.NotFoundError) as caught:
            call("resp_nobody")
        assert isinstance(caught.value.body, dict)
        assert caught.value.body.keys() == {"message", "type", "param", "code"}


def test_input_items_are_listed(client: openai.OpenAI) -> None:
    """Newest first unless told; pages end."""
    turns: Any = [{"role": "user", "content": text} for text in ("one", "two", "three")]
    made = client.responses.create(model="response", input=turns)
    oldest_first = [item for item in client.responses.input_items.list(made.id, order="asc", limit=1)]
    texts = [item.content[0].text for item in oldest_first]  # type: ignore[union-attr]
    assert texts == ["one", "two", "three"]
    newest_first = [item.id for item in client.responses.input_items.list(made.id)]
    assert newest_first == [item.id for item in oldest_first][::-1]


def numbers(events: list[Any]) -> list[int]:
    return [event.sequence_number for event in events]


@pytest.mark.parametrize("model", MODELS)
def test_stream_adds_up(client: openai.OpenAI, model: str) -> None:
    """Numbers without gaps, and in the order that the client's own helper checks."""
    events = list(client.responses.create(model=model, input="hi", stream=True))
    assert numbers(events) == list(range(len(events)))
    kinds = [event.type for event in events]
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    last = events[-1]
    assert last.type == "response.completed"
    assert deltas == last.response.output_text
    assert deltas.startswith(echo("response"))
    with client.responses.stream(model=model, input="hi") as stream:
        assert stream.get_final_response().output_text.startswith(echo("response"))


@pytest.mark.parametrize("model", ["openrouter/resumed", "openai/resumed"])
def test_dropped_stream_goes_on_where_it_was(client: openai.OpenAI, model: str) -> None:
    """After event 4; the helper asks from the start and filters."""
    stream = client.responses.create(model=model, input="hi", background=True, stream=True)
    seen: list[Any] = []
    for event in stream:
        seen.append(event)
        if event.sequence_number == 4:
            break
    stream.close()
    response_id = seen[0].response.id
    rest = list(client.responses.retrieve(response_id, stream=True, starting_after=4))
    assert numbers([*seen, *rest]) == list(range(len(seen) + len(rest)))
    assert rest[-1].type == "response.completed"
    replayed = list(client.responses.retrieve(response_id, stream=True))
    assert replayed[5:] == rest
    with client.responses.stream(response_id=response_id, starting_after=4) as resumed:
        assert [event.type for event in resumed] == [event.type for event in rest]


def test_dropped_background_stream_does_not_end_the_work(client: openai.OpenAI) -> None:
    """It was asked for in the background."""
    stream = client.responses.create(
        model="openrouter/sim-latency-0.3", input="hi", background=True, stream=True
    )
    first = next(iter(stream))
    stream.close()
    assert first.type == "response.created"
    assert until_ended(client, first.response.id)[-1].status == "completed"


def test_failing_stream_ends_with_its_failure(client: openai.OpenAI) -> None:
    events = list(client.responses.create(model="openrouter/sim-fault-500", input="hi", stream=True))
    assert events[-1].type in ("response.failed", "error")
