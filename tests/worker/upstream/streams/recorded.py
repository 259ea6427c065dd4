"""Streams shaped as the providers send them (docs/provider-wire.md), each beside the same answer unstreamed."""

from __future__ import annotations

from typing import Any

import orjson

Recorded = tuple[str, str, bytes, dict[str, Any]]
"""Wire, content type, the stream, and the body that says the same in one piece."""


def sse(*events: dict[str, Any] | str, done: bool = False) -> bytes:
    """Events as `data:` lines; a text goes as it is."""
    lines = [event if isinstance(event, str) else f"data: {orjson.dumps(event).decode()}" for event in events]
    return "".join(f"{line}\n\n" for line in [*lines, *(["data: [DONE]"] if done else [])]).encode()


def named(*events: dict[str, Any]) -> bytes:
    """Events with their type as a name, as Anthropic and the Responses API send them."""
    return sse(*(f"event: {event['type']}\ndata: {orjson.dumps(event).decode()}" for event in events))


def ndjson(*lines: dict[str, Any]) -> bytes:
    return b"".join(orjson.dumps(line) + b"\n" for line in lines)


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return {**head, "choices": choices, **fields}


def logged(answer: dict[str, Any], logprobs: dict[str, Any]) -> dict[str, Any]:
    """A chunk or an answer with logprobs."""
    (choice,) = answer["choices"]
    return {**answer, "choices": [{**choice, "logprobs": logprobs}]}


def whole(
    message: dict[str, Any], finish: str, usage: dict[str, Any] | None = None, **fields: Any
) -> dict[str, Any]:
    head = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", **fields}
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return {**head, "choices": [choice], **({"usage": usage} if usage else {})}


def piece(index: int, **fields: Any) -> dict[str, Any]:
    function = {name: fields.pop(name) for name in ("name", "arguments") if name in fields}
    return {"tool_calls": [{"index": index, **fields, "function": function}]}


def call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
TEXT_EVENT = "text/event-stream; charset=utf-8"
LINES = "application/x-ndjson"

OPENAI: dict[str, tuple[bytes, dict[str, Any]]] = {
    "openai": (
        sse(
            chunk({"role": "assistant", "content": ""}),
            chunk({"content": "Hé"}),
            chunk({"content": "llo"}, service_tier="default"),
            chunk({}, "stop"),
            chunk(usage=USAGE),
            done=True,
        ),
        whole({"content": "Héllo"}, "stop", USAGE, service_tier="default"),
    ),
    "openai tools": (
        sse(
            chunk({"role": "assistant", "content": None}),
            chunk(piece(0, id="a", type="function", name="f", arguments="")),
            chunk(piece(0, arguments='{"x":')),
            chunk(piece(1, id="b", type="function", name="g", arguments="{}")),
            chunk(piece(0, arguments="1}")),
            chunk({}, "tool_calls"),
            done=True,
        ),
        whole({"content": None, "tool_calls": [call("a", "f", '{"x":1}'), call("b", "g", "{}")]}, "tool_calls"),
    ),
    "tools whole and without an index": (
        sse(
            chunk({"tool_calls": [call("a", "f", "{}"), call("b", "g", "{}")]}),
            chunk({"tool_calls": [call("c", "f", "{}")]}, "tool_calls"),
            done=True,
        ),
        whole(
            {"content": None, "tool_calls": [call("a", "f", "{}"), call("b", "g", "{}"), call("c", "f", "{}")]},
            "tool_calls",
        ),
    ),
    "deepseek": (
        sse(
            ": keep-alive",
            ": keep-alive",
            chunk({"role": "assistant", "content": None, "reasoning_content": "Let "}),
            chunk({"content": None, "reasoning_content": "me see"}),
            chunk({"content": "42", "reasoning_content": None}),
            chunk({"content": ""}, "stop", usage={**USAGE, "prompt_cache_hit_tokens": 3}),
            done=True,
        ),
        whole(
            {"content": "42", "reasoning_content": "Let me see"}, "stop", {**USAGE, "prompt_cache_hit_tokens": 3}
        ),
    ),
    "openrouter": (
        sse(
            ": OPENROUTER PROCESSING",
            chunk({"role": "assistant", "content": "", "reasoning": "hm", "reasoning_details": [{"type": "x"}]},
                  provider="P"),
            chunk({"content": "hi", "reasoning": None}, "stop"),
            chunk(usage={**USAGE, "cost": 0.5}),
            done=True,
        ),
        whole(
            {"content": "hi", "reasoning": "hm", "reasoning_details": [{"type": "x"}]},
            "stop", {**USAGE, "cost": 0.5}, provider="P",
        ),
    ),
    "opencode, the cost after the end": (
        sse(chunk({"content": "hi"}, "stop"), chunk(usage=USAGE), done=True) + sse({"choices": [], "cost": "0.25"}),
        whole({"content": "hi"}, "stop", USAGE, cost="0.25"),
    ),
    "moonshot": (
        sse(
            chunk({"role": "assistant", "content": "hi"}),
            {**chunk(), "choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": USAGE}]},
            done=True,
        ),
        {
            **whole({"content": "hi"}, "stop", USAGE),
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop",
                         "usage": USAGE}],
        },
    ),
    "xai": (
        sse(chunk({"content": "hi"}, "stop"), chunk(usage={**USAGE, "cost_in_usd_ticks": 5}), done=True),
        whole({"content": "hi"}, "stop", {**USAGE, "cost_in_usd_ticks": 5}),
    ),
    "llama.cpp": (
        sse(
            ": ping", chunk({"content": "hi"}), chunk({}, "stop", timings={"prompt_n": 7, "predicted_n": 2}),
            done=True,
        ),
        whole({"content": "hi"}, "stop", timings={"prompt_n": 7, "predicted_n": 2}),
    ),
    "the whole answer as one event": (
        sse(whole({"content": "hi"}, "stop", USAGE), done=True),
        whole({"content": "hi"}, "stop", USAGE),
    ),
    "logprobs come with their tokens": (
        sse(
            logged(chunk({"content": "He"}), {"content": [{"token": "He", "logprob": -0.1}], "refusal": None}),
            logged(chunk({"content": "y"}), {"content": [{"token": "y", "logprob": -0.2}], "refusal": None}),
            chunk({}, "stop"),
            done=True,
        ),
        logged(
            whole({"content": "Hey"}, "stop"),
            {"content": [{"token": "He", "logprob": -0.1}, {"token": "y", "logprob": -0.2}], "refusal": None},
        ),
    ),
    "two choices": (
        sse(
            {**chunk(), "choices": [{"index": 1, "delta": {"content": "b"}, "finish_reason": "stop"}]},
            chunk({"content": "a"}, "stop"),
            done=True,
        ),
        {
            **whole({"content": "a"}, "stop"),
            "choices": [
                {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
                for index, text in enumerate("ab")
            ],
        },
    ),
}  # fmt: skip

_DONE = {"model": "q", "done": True, "done_reason": "stop", "prompt_eval_count": 7, "eval_count": 2}
_TOOL = {"function": {"index": 0, "name": "f", "arguments": {"x": 1}}}

OLLAMA: dict[str, tuple[str, bytes, dict[str, Any]]] = {
    "chat": (
        "ollama",
        ndjson(
            {"model": "q", "message": {"role": "assistant", "content": "", "thinking": "h"}, "done": False},
            {"model": "q", "message": {"role": "assistant", "content": "", "thinking": "m"}, "done": False},
            {"model": "q", "message": {"role": "assistant", "content": "hel"}, "done": False},
            {"model": "q", "message": {"role": "assistant", "content": "lo"}, "done": False},
            {**_DONE, "message": {"role": "assistant", "content": ""}},
        ),
        {**_DONE, "message": {"role": "assistant", "content": "hello", "thinking": "hm"}},
    ),
    "tools": (
        "ollama",
        ndjson(
            {"message": {"role": "assistant", "content": "", "tool_calls": [_TOOL]}, "done": False},
            {**_DONE, "message": {"role": "assistant", "content": ""}},
        ),
        {**_DONE, "message": {"role": "assistant", "content": "", "tool_calls": [_TOOL]}},
    ),
    "generate": (
        "ollama_generate",
        ndjson(
            {"response": "hel", "thinking": "hm", "done": False},
            {"response": "lo"},
            {**_DONE, "response": ""},
        ),
        {**_DONE, "response": "hello", "thinking": "hm"},
    ),
}

_START = {
    "type": "message_start",
    "message": {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": [],
        "stop_reason": None, "stop_sequence": None,
        "usage": {"input_tokens": 7, "cache_read_input_tokens": 3, "output_tokens": 1},
    },
}  # fmt: skip


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def stop(reason: str) -> list[dict[str, Any]]:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return [
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ]


def message(reason: str, *content: dict[str, Any]) -> dict[str, Any]:
    usage = {"input_tokens": 7, "cache_read_input_tokens": 3, "output_tokens": 9}
    return {**_START["message"], "stop_reason": reason, "content": list(content), "usage": usage}  # type: ignore[dict-item]


ANTHROPIC: dict[str, tuple[bytes, dict[str, Any]]] = {
    "text": (
        named(
            _START,
            {"type": "ping"},
            *block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "He"},
                   {"type": "text_delta", "text": "llo"}),
            *stop("end_turn"),
        ),
        message("end_turn", {"type": "text", "text": "Hello"}),
    ),
    "thinking and tools": (
        named(
            _START,
            *block(0, {"type": "thinking", "thinking": "", "signature": ""},
                   {"type": "thinking_delta", "thinking": "hm"}, {"type": "signature_delta", "signature": "sig"}),
            *block(1, {"type": "redacted_thinking", "data": "xyz"}),
            *block(2, {"type": "tool_use", "id": "t1", "name": "f", "input": {}},
                   {"type": "input_json_delta", "partial_json": '{"x"'},
                   {"type": "input_json_delta", "partial_json": ":1}"}),
            *block(3, {"type": "tool_use", "id": "t2", "name": "g", "input": {}}),
            *stop("tool_use"),
        ),
        message(
            "tool_use",
            {"type": "thinking", "thinking": "hm", "signature": "sig"},
            {"type": "redacted_thinking", "data": "xyz"},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"x": 1}},
            {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
        ),
    ),
}  # fmt: skip


def part(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    usage = {"promptTokenCount": 7, "candidatesTokenCount": 2, "thoughtsTokenCount": 4, "totalTokenCount": 13}
    candidate = {"content": {"role": "model", "parts": list(parts)}, "index": 0, **fields}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "g", "responseId": "r1"}


GEMINI: dict[str, tuple[bytes, dict[str, Any]]] = {
    "text": (
        sse(part({"text": "He"}), part({"text": "llo"}, finishReason="STOP")),
        part({"text": "Hello"}, finishReason="STOP"),
    ),
    "thoughts, a call and a signature": (
        sse(
            part({"text": "hm", "thought": True}),
            part({"text": " yes", "thought": True}),
            part({"text": "So"}),
            part({"text": ":", "thoughtSignature": "s0"}),
            part({"functionCall": {"id": "f1", "name": "f", "args": {"x": 1}}, "thoughtSignature": "s1"}),
            part({"text": ""}, finishReason="STOP"),
        ),
        part(
            {"text": "hm yes", "thought": True},
            {"text": "So:", "thoughtSignature": "s0"},
            {"functionCall": {"id": "f1", "name": "f", "args": {"x": 1}}, "thoughtSignature": "s1"},
            {"text": ""},
            finishReason="STOP",
        ),
    ),
    "blocked prompt": (
        sse({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 7}}),
        {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 7}},
    ),
}

RESPONSE = {
    "id": "resp_1", "object": "response", "status": "completed", "model": "gpt", "error": None, "created_at": 1,
    "output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]}],
    "usage": {"input_tokens": 7, "output_tokens": 2},
}  # fmt: skip

RESPONSES: dict[str, tuple[bytes, dict[str, Any]]] = {
    "completed": (
        named(
            {"type": "response.created", "response": {**RESPONSE, "status": "in_progress", "output": []}},
            {"type": "response.output_text.delta", "delta": "Hello"},
            {"type": "response.completed", "response": RESPONSE},
        ),
        RESPONSE,
    ),
    "incomplete": (
        named({"type": "response.incomplete", "response": {**RESPONSE, "status": "incomplete"}}),
        {**RESPONSE, "status": "incomplete"},
    ),
    "failed": (
        named({"type": "response.failed", "response": {**RESPONSE, "error": {"code": "server_error"}}}),
        {**RESPONSE, "error": {"code": "server_error"}},
    ),
    "error": (
        named({"type": "error", "code": "server_error", "message": "no", "param": None}),
        {"error": {"message": "no", "code": "server_error", "param": None}},
    ),
    "opencode, with a cost of its own": (
        named({"type": "response.completed", "response": RESPONSE}) + sse({"cost": "0.5"}),
        {**RESPONSE, "cost": "0.5"},
    ),
}

RECORDED: dict[str, Recorded] = {
    **{f"openai: {name}": ("openai", TEXT_EVENT, *case) for name, case in OPENAI.items()},
    **{f"ollama: {name}": (case[0], LINES, *case[1:]) for name, case in OLLAMA.items()},
    **{f"anthropic: {name}": ("anthropic", TEXT_EVENT, *case) for name, case in ANTHROPIC.items()},
    **{f"gemini: {name}": ("gemini", TEXT_EVENT, *case) for name, case in GEMINI.items()},
    **{f"responses: {name}": ("responses", TEXT_EVENT, *case) for name, case in RESPONSES.items()},
}
