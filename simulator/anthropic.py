"""Anthropic's wire: messages, their token count, and the model list. Shapes: anthropic PyPI `types`."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from simulator import anthropic_messages, anthropic_requests
from simulator.answer import Answer, pieces
from simulator.anthropic_errors import AnthropicErrors, error_object, id_line, request_id
from simulator.events import typed_event
from simulator.framing import JSON, SSE, Content, Request
from simulator.timestamps import rfc3339_second
from simulator.wire import ChatCall, PromptTokens, Timing, bearer, decode

Json = dict[str, Any]


class AnthropicWire(AnthropicErrors):
    """`POST …/messages`."""

    name = "anthropic"

    def key(self, request: Request) -> bytes | None:
        """`x-api-key`, which wins over Bearer."""
        return request.headers.get(b"x-api-key") or bearer(request)

    def parse(self, request: Request) -> ChatCall:
        """Read a request; streaming is off unless asked for."""
        data = _checked(request, is_count=False)
        call = _call(data)
        call.cap_tokens = data["max_tokens"]
        call.is_stream = data.get("stream") is True
        return call

    def parse_count(self, request: Request) -> ChatCall:
        """Read a request to `count_tokens`."""
        return _call(_checked(request, is_count=True))

    def count(self, tokens: int) -> bytes:
        """The answer to `count_tokens`."""
        return orjson.dumps({"input_tokens": tokens})

    def answer(self, call: ChatCall, answer: Answer, prompt: PromptTokens, timing: Timing) -> Content:
        """A Message, or the events that build it up."""
        message = _message(call, timing)
        message["content"] = _blocks(call, answer)
        message["stop_reason"] = (
            "max_tokens" if answer.is_cut else "tool_use" if answer.tool_call else "end_turn"
        )
        message["usage"] = _usage(call, answer, prompt)
        return _content(call, message)

    def answer_without_choice(self, call: ChatCall, timing: Timing) -> Content:
        """`content: []`."""
        message = _message(call, timing)
        message["stop_reason"] = "end_turn"
        message["usage"] = _usage(call, _NOTHING, PromptTokens(1))
        return _content(call, message)

    def blocked(self, call: ChatCall, prompt: PromptTokens, timing: Timing) -> Content:
        """No content, and `stop_reason: refusal`."""
        message = _message(call, timing)
        message["stop_reason"] = "refusal"
        message["stop_details"] = {"type": "refusal", "category": "general_harms", "explanation": None}
        message["usage"] = _usage(call, _NOTHING, prompt)
        return _content(call, message)

    def error_in_answer(self, call: ChatCall, begun: Sequence[bytes] = ()) -> Content:
        """The error body with status 200; in a stream the event `error`, and nothing after it."""
        data = error_object("overloaded_error", "Overloaded", request_id())
        if call.is_stream:
            return Content(SSE, [*begun, typed_event(data)], is_stream=True)
        return Content(JSON, [orjson.dumps(data)])


_NOTHING = Answer("", 0, is_cut=False)


def models(names: Sequence[str]) -> bytes:
    """Body of `GET /v1/models`."""
    data = [
        {
            "type": "model",
            "id": name,
            "display_name": name,
            "created_at": rfc3339_second(0),
            "lifecycle": "active",
        }
        for name in names
    ]
    ends = {"first_id": names[0] if names else None, "last_id": names[-1] if names else None}
    return orjson.dumps({"data": data, "has_more": False, **ends})


def _checked(request: Request, *, is_count: bool) -> Json:
    version = anthropic_requests.check_version(request.headers.get(b"anthropic-version"))
    data = decode(request.body)
    anthropic_requests.check_fields(data, version, is_count=is_count)
    return data


def _call(data: Json) -> ChatCall:
    turns = anthropic_messages.messages(data)
    system, prompt = anthropic_messages.texts(data, turns)
    return ChatCall(
        data["model"],
        system,
        prompt,
        None,
        is_stream=False,
        demand=anthropic_requests.demand(data, turns),
        images=anthropic_messages.count_images(turns),
        is_cacheable=anthropic_messages.is_cacheable(data, turns),
    )


def _message(call: ChatCall, timing: Timing) -> Json:
    return {
        "id": f"msg_sim{int(timing.created_at * 1_000_000):x}",
        "type": "message",
        "role": "assistant",
        "model": call.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {},
    }


def _blocks(call: ChatCall, answer: Answer) -> list[Json]:
    """Thinking, then a tool's use or text."""
    blocks: list[Json] = []
    if call.demand.is_thinking:
        signature = base64.b64encode(answer.thoughts.encode()[:48]).decode()
        blocks.append({"type": "thinking", "thinking": answer.thoughts, "signature": signature})
    if answer.tool_call is None:
        return [*blocks, {"type": "text", "text": answer.text}]
    tool_call = answer.tool_call
    use = {"type": "tool_use", "id": f"toolu_{tool_call.ident}", "name": tool_call.name}
    return [*blocks, {**use, "input": tool_call.arguments}]


def _usage(call: ChatCall, answer: Answer, prompt: PromptTokens) -> Json:
    """The three kinds of input add up to the prompt."""
    shared = prompt.shared if call.is_cacheable else 0
    written = 0 if prompt.is_repeat else shared
    return {
        "input_tokens": prompt.total - shared,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": shared - written,
        "cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0},
        "output_tokens": answer.tokens,
        "output_tokens_details": {"thinking_tokens": answer.thought_tokens},
        "service_tier": "standard",
    }


def _content(call: ChatCall, message: Json) -> Content:
    headers = id_line(request_id())
    if call.is_stream:
        return Content(
            SSE, [typed_event(event) for event in _events(message)], is_stream=True, headers=headers
        )
    return Content(JSON, [orjson.dumps(message)], headers=headers)


def _events(message: Json) -> Iterator[Json]:
    """The events of a stream; the first has the input's usage, the last but one the output's."""
    usage = message["usage"]
    start = {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    start["usage"].pop("output_tokens_details")
    yield {"type": "message_start", "message": start}
    for index, block in enumerate(message["content"]):
        yield {"type": "content_block_start", "index": index, "content_block": _empty(block)}
        if index == 0:
            yield {"type": "ping"}
        for delta in _deltas(block):
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    delta = {
        name: message[name] for name in ("stop_reason", "stop_sequence", "stop_details") if name in message
    }
    yield {"type": "message_delta", "delta": delta, "usage": usage}
    yield {"type": "message_stop"}


def _empty(block: Json) -> Json:
    """A block before anything was generated."""
    match block["type"]:
        case "thinking":
            return {**block, "thinking": "", "signature": ""}
        case "tool_use":
            return {**block, "input": {}}
    return {**block, "text": ""}


def _deltas(block: Json) -> Iterator[Json]:
    match block["type"]:
        case "thinking":
            for piece in pieces(block["thinking"]):
                yield {"type": "thinking_delta", "thinking": piece}
            yield {"type": "signature_delta", "signature": block["signature"]}
        case "tool_use":
            for piece in pieces(orjson.dumps(block["input"]).decode()):
                yield {"type": "input_json_delta", "partial_json": piece}
        case _:
            for piece in pieces(block["text"]):
                yield {"type": "text_delta", "text": piece}
