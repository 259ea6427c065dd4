"""Streams put together: the same body as without streaming, however the bytes come."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import UpstreamUnavailable
from tests.worker.upstream.streams.recorded import (
    GEMINI,
    RECORDED,
    TEXT_EVENT,
    block,
    chunk,
    named,
    ndjson,
    part,
    sse,
    stop,
)
from worker.upstream.streams import STREAMS, StreamedAnswer


def streamed(wire: Any, content_type: str, *chunks: bytes) -> StreamedAnswer:
    answer = StreamedAnswer(STREAMS[wire].assembler())
    assert answer.begin(content_type)
    for one in chunks:
        answer.feed(one)
    return answer


@pytest.mark.parametrize("name", RECORDED)
def test_stream_says_what_the_whole_answer_says(name: str) -> None:
    """Texts, traces, tool calls, usage, cost and envelope."""
    wire, content_type, stream, body = RECORDED[name]
    assert orjson.loads(streamed(wire, content_type, stream).body()) == body


@given(st.data())
def test_bytes_may_come_in_any_pieces(data: st.DataObject) -> None:
    """A piece may end inside a line, an event, a character."""
    wire, content_type, stream, body = RECORDED[data.draw(st.sampled_from(sorted(RECORDED)))]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert orjson.loads(streamed(wire, content_type, *pieces).body()) == body


@pytest.mark.parametrize("name", [name for name in RECORDED if not name.startswith("gemini")])
def test_answer_without_its_end_is_a_failed_attempt(name: str) -> None:
    """The last event is missing: what came may be half an answer, and may be billed."""
    wire, content_type, stream, _ = RECORDED[name]
    framing = b"\n" if content_type == "application/x-ndjson" else b"\n\n"
    events = stream.split(framing)[:-1]
    end = next(
        index
        for index, event in enumerate(events)
        if b"[DONE]" in event or b'"done":true' in event or b"message_stop" in event or wire == "responses"
    )
    if wire == "responses":
        end = len(events) - (2 if b'"cost"' in events[-1] else 1)
    answer = streamed(wire, content_type, framing.join(events[:end]) + framing)
    with pytest.raises(UpstreamUnavailable) as caught:
        answer.body()
    assert (caught.value.code, caught.value.maybe_billed) == ("truncated", True)


def test_gemini_without_a_finish_reason_is_a_failed_attempt() -> None:
    """Its streams have no other end."""
    with pytest.raises(UpstreamUnavailable, match="before it was done"):
        streamed("gemini", TEXT_EVENT, sse(part({"text": "He"}))).body()


def test_end_is_known_before_the_connection_ends() -> None:
    """So the rest need not be waited for; Gemini's end is the connection's."""
    ends = {name: streamed(*case[:3]).is_complete for name, case in RECORDED.items()}
    assert {name for name, is_complete in ends.items() if not is_complete} == {
        name for name in RECORDED if name.startswith("gemini")
    }


ERRORS: list[tuple[str, str, bytes]] = [
    ("openai", TEXT_EVENT, sse(chunk({"content": "a"}), {"error": {"code": 502}}, done=True)),
    ("openai", TEXT_EVENT, sse(chunk({"content": "a"}, "error", error={"code": 502}))),
    ("openai", TEXT_EVENT, sse({"error": {"code": 502}, "choices": [{"delta": {"content": ""}}]})),
    ("ollama", "application/x-ndjson", ndjson({"message": {"content": "a"}}, {"error": {"code": 502}})),
    ("anthropic", TEXT_EVENT, named({"type": "error", "error": {"code": 502}})),
    ("gemini", TEXT_EVENT, sse(part({"text": "a"}), {"error": {"code": 502}})),
    ("gemini", TEXT_EVENT, sse(part({"text": "a"})) + b'{\n "error": {\n  "code": 502\n }\n}\n'),
    ("gemini", TEXT_EVENT, b'data: [{"error": {"code": 502}}]\n\n'),
]


@pytest.mark.parametrize(("wire", "content_type", "stream"), ERRORS)
def test_error_in_the_stream_is_the_answer(wire: str, content_type: str, stream: bytes) -> None:
    """Whatever came before; it is read where errors in whole answers are."""
    answer = streamed(wire, content_type, stream)
    assert orjson.loads(answer.body())["error"] == {"code": 502}


@pytest.mark.parametrize("stream", [b"data: {\n\n", b"data: 5\n\n", b"data: [1,2]\n\n", b"<html>\n"])
def test_what_is_no_event_is_malformed(stream: bytes) -> None:
    """A proxy's page, half a JSON text, a number."""
    with pytest.raises(UpstreamUnavailable) as caught:
        streamed("openai", TEXT_EVENT, stream).body()
    assert (caught.value.code, caught.value.maybe_billed) == ("malformed", True)


ODD_EVENTS = [
    {"choices": 5},
    {"choices": [5, {"index": "x"}, {"index": -1}, {"index": 10**9}]},
    {"choices": [{"delta": 5}]},
    {"choices": [{"delta": {}, "logprobs": {"content": [5, {"top_logprobs": 5}], "refusal": 5}}]},
    {"choices": [{"delta": {}, "logprobs": 5}]},
    {"choices": [{"delta": {"content": 5, "tool_calls": 5}}]},
    {"choices": [{"delta": {"tool_calls": [5, {"function": 5}, {"index": 10**9}]}}]},
    {"message": 5, "response": 5},
    {"message": {"content": 5, "tool_calls": 5}},
    {"type": "message_start", "message": 5},
    {"type": "content_block_start", "index": "x", "content_block": {}},
    {"type": "content_block_delta", "index": 0, "delta": 5},
    {"type": "content_block_delta", "index": [], "delta": {}},
    {"type": "message_delta", "delta": 5, "usage": 5},
    {"type": ["x"]},
    {"type": "response.completed", "response": 5},
    {"candidates": 5},
    {
        "candidates": [
            5,
            {"index": "x"},
            {"content": 5},
            {"content": {"parts": 5}},
            {"content": {"parts": [5]}},
        ]
    },
]


@pytest.mark.parametrize("event", ODD_EVENTS)
@pytest.mark.parametrize("wire", STREAMS)
def test_odd_events_break_nothing(wire: Any, event: dict[str, Any]) -> None:
    """Foreign JSON: what is not understood is passed over."""
    assembler = STREAMS[wire].assembler()
    assembler.add(event)
    assembler.end()
    assembler.answer()


def test_input_that_is_no_json_is_a_failed_attempt() -> None:
    """A tool call cut short has no meaning."""
    delta = {"type": "input_json_delta", "partial_json": '{"x'}
    events = block(0, {"type": "tool_use", "id": "t", "name": "f", "input": {}}, delta)
    with pytest.raises(UpstreamUnavailable, match="not JSON"):
        streamed("anthropic", TEXT_EVENT, named(*events, *stop("tool_use"))).body()


def test_citations_are_kept() -> None:
    """They come as deltas of their own."""
    delta = {"type": "citations_delta", "citation": {"cited_text": "x"}}
    events = block(0, {"type": "text", "text": ""}, delta, {"type": "text_delta", "text": "a"})
    body = orjson.loads(streamed("anthropic", TEXT_EVENT, named(*events, *stop("end_turn"))).body())
    assert body["content"] == [{"type": "text", "text": "a", "citations": [{"cited_text": "x"}]}]


@pytest.mark.parametrize("name", GEMINI)
def test_array_of_events_is_read_too(name: str) -> None:
    """Gemini without `alt=sse` sends one long JSON array."""
    stream, body = GEMINI[name]
    events = [event.removeprefix(b"data: ") for event in stream.split(b"\n\n") if event]
    answer = StreamedAnswer(STREAMS["gemini"].assembler())
    assert not answer.begin("application/json; charset=UTF-8")
    assert orjson.loads(answer.body_of_array(b"[" + b",\r\n".join(events) + b"]")) == body


@pytest.mark.parametrize("body", [b'{"choices": []}', b"", b"[broken"])
def test_body_that_is_no_stream_stays_as_it_is(body: bytes) -> None:
    """Many servers answer in one piece even when asked for a stream, errors above all."""
    assert StreamedAnswer(STREAMS["openai"].assembler()).body_of_array(body) == body


def test_size_follows_what_is_kept() -> None:
    """So an endless stream can be refused."""
    answer = streamed("openai", TEXT_EVENT, sse(chunk({"content": "x" * 1000})))
    assert 1000 <= answer.size < 1100
    answer.feed(b"data: " + b"y" * 1000)
    assert answer.size >= 2000


def test_many_short_pieces_are_joined_as_they_come() -> None:
    """A long answer comes in thousands of pieces."""
    answer = streamed(
        "openai", TEXT_EVENT, *[sse(chunk({"content": "ab"}))] * 3000, sse(chunk({}, "stop"), done=True)
    )
    assert orjson.loads(answer.body())["choices"][0]["message"]["content"] == "ab" * 3000


def test_deep_event_is_refused() -> None:
    """orjson reads deeper than it writes."""
    stream = b'data: {"choices": [], "x": ' + b"[" * 400 + b"]" * 400 + b"}\n\ndata: [DONE]\n\n"
    with pytest.raises(UpstreamUnavailable, match="too deep"):
        streamed("openai", TEXT_EVENT, stream).body()
