"""The events hold for every sequence of deltas: the SDK's own accumulator judges them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai._models import construct_type
from openai._types import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from producer.responses.answer import response_object, unfinished
from producer.responses.events import ResponseEvents
from producer.responses.ids import response_id
from shared.job import JobError, JobState
from tests.producer.responses.completions import (
    CREATED_AT,
    JOB_ID,
    Delta,
    asked,
    assembled,
    completion,
    delta,
    job,
)

STRICT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)

unhurried = settings(deadline=None)
"""The first call of the SDK's models builds them."""

TEXT = st.text(max_size=8)
CALL = st.builds(
    lambda index, piece: delta(tool_calls=[{"index": index, "function": {"arguments": piece}}]),
    st.integers(0, 2),
    TEXT,
)
PIECE = st.one_of(
    TEXT.map(lambda text: delta(content=text)),
    TEXT.map(lambda text: delta(reasoning_content=text)),
    TEXT.map(lambda text: delta(refusal=text)),
    CALL,
)


def with_heads(deltas: Sequence[Delta]) -> list[Delta]:
    """The first piece of each call names it, as in every stream."""
    named: set[int] = set()
    for (choice,) in deltas:
        for call in choice["delta"].get("tool_calls", ()):
            if call["index"] not in named:
                named.add(call["index"])
                call["id"] = f"call_{call['index']}"
                call["function"]["name"] = "look"
    return list(deltas)


DELTAS = st.lists(PIECE, max_size=12).map(with_heads)


def events_of(
    deltas: Sequence[Delta], final: dict[str, Any], *, background: bool = True
) -> list[dict[str, Any]]:
    first = unfinished(asked(background=background), response_id(JOB_ID), created_at=CREATED_AT)
    events = ResponseEvents(first)
    return [*events.begin(), *(one for some in deltas for one in events.add(some)), *events.end(final)]


def final_of(deltas: Sequence[Delta], finish_reason: str = "stop", **fields: Any) -> dict[str, Any]:
    answered = job(response=completion(assembled(deltas), finish_reason))
    return response_object(asked(**fields), answered, created_at=CREATED_AT)


def accumulated(events: Sequence[dict[str, Any]]) -> Any:
    """The SDK's final object; it raises for an event out of order."""
    state: ResponseStreamState[Any] = ResponseStreamState(text_format=omit, input_tools=omit)
    for event in events:
        STRICT.validate_python(event)
        state.handle_event(construct_type(value=event, type_=ResponseStreamEvent))  # type: ignore[arg-type]
    return state._completed_response


@unhurried
@given(deltas=DELTAS, background=st.booleans())
def test_sdk_accumulates_every_sequence_to_the_final_object(deltas: list[Delta], background: bool) -> None:
    final = final_of(deltas, background=background)
    events = events_of(deltas, final, background=background)
    done = accumulated(events)
    assert done.output_text == Response.model_validate(final).output_text
    assert {item.id for item in done.output} == {item["id"] for item in final["output"]}
    assert {**events[-1]["response"], "output": None} == {**final, "output": None}


@unhurried
@given(deltas=DELTAS)
def test_numbers_have_no_gaps_and_a_replay_gives_the_same(deltas: list[Delta]) -> None:
    final = final_of(deltas)
    events = events_of(deltas, final)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events_of(deltas, final) == events


@unhurried
@given(deltas=DELTAS)
def test_places_of_items_are_those_of_the_final_object(deltas: list[Delta]) -> None:
    events = events_of(deltas, final_of(deltas))
    added = {e["item"]["id"]: e["output_index"] for e in events if e["type"] == "response.output_item.added"}
    for place, item in enumerate(events[-1]["response"]["output"]):
        assert added[item["id"]] == place


@unhurried
@given(deltas=DELTAS, kept=st.integers(0, 12))
def test_what_was_not_streamed_is_said_at_the_end(deltas: list[Delta], kept: int) -> None:
    """A log of deltas is capped, and a stock worker writes none."""
    final = final_of(deltas)
    events = events_of(deltas[:kept], final)
    assert accumulated(events).output_text == Response.model_validate(final).output_text
    said = "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta")
    assert said == Response.model_validate(final).output_text


def test_text_is_streamed_in_the_documented_order() -> None:
    deltas = [delta(role="assistant", content=""), delta(content="He"), delta(content="llo"), delta("stop")]
    assert [event["type"] for event in events_of(deltas, final_of([delta(content="Hello")]))] == [
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]


def test_thoughts_are_done_when_something_is_said() -> None:
    deltas = [delta(reasoning_content="hm"), delta(content="yes")]
    types = [event["type"] for event in events_of(deltas, final_of(deltas))]
    assert types.index("response.reasoning_text.done") < types.index("response.output_text.delta")


def test_foreground_is_never_queued() -> None:
    events = events_of([], final_of([delta(content="x")], background=False), background=False)
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[0]["response"]["status"] == "in_progress"


def test_cut_answer_ends_incomplete() -> None:
    deltas = [delta(content="half a")]
    last = events_of(deltas, final_of(deltas, "length"))[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}


def test_failure_ends_with_the_failed_response() -> None:
    failed = job(JobState.FAILED, error=JobError("stream_broken", "it broke off"))
    final = response_object(asked(), failed, created_at=CREATED_AT)
    events = events_of([delta(content="half")], final)
    accumulated(events)
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["error"] == {"code": "server_error", "message": "it broke off"}


def test_cancelled_ends_without_a_last_event() -> None:
    final = response_object(asked(), job(JobState.CANCELLED), created_at=CREATED_AT)
    assert [event["type"] for event in events_of([], final)] == ["response.created", "response.queued"]


@pytest.mark.parametrize("call", [{"index": 0}, {"function": {"arguments": "{}"}}, {"index": [], "id": 5}])
def test_call_without_a_name_is_said_whole_at_the_end(call: dict[str, Any]) -> None:
    final = final_of(with_heads([delta(tool_calls=[{"index": 0, "function": {"arguments": "{}"}}])]))
    done = accumulated(events_of([delta(tool_calls=[call])], final))
    assert (done.output[0].name, done.output[0].arguments) == ("look", "{}")


def test_same_call_id_twice_becomes_two() -> None:
    calls = [{"index": n, "id": "call_0", "function": {"name": "look", "arguments": "{}"}} for n in (0, 1)]
    deltas = [delta(tool_calls=calls)]
    done = accumulated(events_of(deltas, final_of(deltas)))
    assert [item.call_id for item in done.output] == ["call_0", "call_0_2"]
