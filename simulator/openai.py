"""OpenAI's chat wire: chat completions and the model list. Shapes: openai/openai-openapi."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from simulator.answer import Answer
from simulator.digest import flatten
from simulator.durations import go_duration
from simulator.framing import JSON, SSE, Content, plain
from simulator.limits import Shortage
from simulator.wire import ChatCall, Refusal, RefusedCall, Timing, decode

_LIMIT_NAMES = {"requests": "requests per min (RPM)", "tokens": "tokens per min (TPM)"}


class OpenAIWire:
    """`POST …/chat/completions`."""

    name = "openai"

    def parse(self, body: bytes) -> ChatCall:
        """Read a request; streaming is off unless asked for."""
        data = decode(self, body)
        model, messages = data.get("model"), data.get("messages")
        if not isinstance(model, str) or not model:
            raise RefusedCall(self.invalid("you must provide a model parameter", "model"))
        if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
            raise RefusedCall(self.invalid("'messages' must be a non-empty array of objects", "messages"))
        system, prompt = flatten(messages)
        options = data.get("stream_options")
        return ChatCall(
            model,
            system,
            prompt,
            self._cap(data),
            is_stream=data.get("stream") is True,
            includes_usage=isinstance(options, dict) and options.get("include_usage") is True,
        )

    def _cap(self, data: dict[str, Any]) -> int | None:
        for name in ("max_completion_tokens", "max_tokens"):
            cap = data.get(name)
            if cap is None:
                continue
            if not isinstance(cap, int) or cap < 1:
                raise RefusedCall(self.invalid(f"'{name}' must be an integer of at least 1", name))
            return cap
        return None

    def answer(self, call: ChatCall, answer: Answer, prompt_tokens: int, timing: Timing) -> Content:
        """A ChatCompletion, or its chunks with a usage chunk if that was asked for."""
        usage = {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": answer.tokens,
            "total_tokens": prompt_tokens + answer.tokens,
        }
        finish_reason = "length" if answer.is_cut else "stop"
        if call.is_stream:
            chunks = _chunks(call, answer.text, finish_reason, timing)
            if call.includes_usage:
                chunks.append(
                    _event({**_opening(call, timing, "chat.completion.chunk"), "choices": [], "usage": usage})
                )
            return Content(SSE, [*chunks, b"data: [DONE]\n\n"], is_stream=True)
        message = {"role": "assistant", "content": answer.text}
        choice = {"index": 0, "message": message, "finish_reason": finish_reason}
        data = {**_opening(call, timing, "chat.completion"), "choices": [choice], "usage": usage}
        return plain(JSON, orjson.dumps(data))

    def answer_without_choice(self, call: ChatCall, timing: Timing) -> Content:
        """`choices: []`."""
        if call.is_stream:
            event = _event({**_opening(call, timing, "chat.completion.chunk"), "choices": []})
            return Content(SSE, [event, b"data: [DONE]\n\n"], is_stream=True)
        return plain(JSON, orjson.dumps({**_opening(call, timing, "chat.completion"), "choices": []}))

    def error_in_answer(self, call: ChatCall) -> Content:
        """A top-level `error` with status 200; a stream ends after it without `[DONE]`."""
        data = _error(
            "The server had an error while processing your request", "server_error", code="server_error"
        )
        if call.is_stream:
            return Content(SSE, [_event(data)], is_stream=True)
        return plain(JSON, orjson.dumps(data))

    def invalid(self, message: str, param: str | None = None) -> Refusal:
        """400."""
        return _refusal(400, message, "invalid_request_error", param=param)

    def bad_key(self) -> Refusal:
        """401."""
        return _refusal(401, "Incorrect API key provided", "invalid_request_error", code="invalid_api_key")

    def unknown_model(self, model: str) -> Refusal:
        """404."""
        text = f"The model `{model}` does not exist or you do not have access to it."
        return _refusal(404, text, "invalid_request_error", param="model", code="model_not_found")

    def rate_limited(self, model: str) -> Refusal:
        """429; the text names no wait, so that only the headers can."""
        return _refusal(429, f"Rate limit reached for {model}.", "requests", code="rate_limit_exceeded")

    def quota_used_up(self) -> Refusal:
        """429 in OpenAI's words."""
        text = "You exceeded your current quota, please check your plan and billing details."
        return _refusal(429, text, "insufficient_quota", code="insufficient_quota")

    def no_money(self) -> Refusal:
        """402 in DeepSeek's words; OpenAI has none."""
        return _refusal(402, "Insufficient Balance", "unknown_error", code="invalid_request_error")

    def short(self, model: str, shortage: Shortage, *, states_wait: bool) -> Refusal:
        """429 in OpenAI's words."""
        name = _LIMIT_NAMES.get(shortage.kind, "concurrent requests")
        numbers = f"Limit {shortage.limit}, Used {shortage.used}, Requested {shortage.requested}."
        if shortage.wait_s is None:
            text = f"Request too large for {model} on {name}: {numbers} The input or output tokens must be reduced."
        else:
            hint = f" Please try again in {go_duration(shortage.wait_s)}." if states_wait else ""
            text = f"Rate limit reached for {model} on {name}: {numbers}{hint}"
        kind = "tokens" if shortage.kind == "tokens" else "requests"
        return _refusal(429, text, kind, code="rate_limit_exceeded")

    def failed(self, status: int) -> Refusal:
        """500 or 503 in OpenAI's words, 529 with Anthropic's type."""
        overloaded = "The server is currently overloaded with other requests."
        if status == 503:
            return _refusal(503, overloaded, "service_unavailable_error", code="server_is_overloaded")
        if status == 529:
            return _refusal(529, overloaded, "overloaded_error")
        return _refusal(status, "The server had an error while processing your request.", "server_error")


def models(names: Sequence[str]) -> bytes:
    """Body of `GET /v1/models`."""
    data = [{"id": name, "object": "model", "created": 0, "owned_by": "simulator"} for name in names]
    return orjson.dumps({"object": "list", "data": data})


def _opening(call: ChatCall, timing: Timing, kind: str) -> dict[str, Any]:
    # Ids need to be plausible, not unique: nothing may depend on them.
    return {
        "id": f"chatcmpl-sim{int(timing.created_at * 1_000_000):x}",
        "object": kind,
        "created": int(timing.created_at),
        "model": call.model,
    }


def _chunks(call: ChatCall, text: str, finish_reason: str, timing: Timing) -> list[bytes]:
    opening = _opening(call, timing, "chat.completion.chunk")
    first, *others = text.split(" ")
    deltas = [
        {"role": "assistant", "content": ""},
        {"content": first},
        *({"content": f" {word}"} for word in others),
    ]
    chunks = [
        _event({**opening, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        for delta in deltas
    ]
    chunks.append(_event({**opening, "choices": [{"index": 0, "delta": {}, "finish_reason": finish_reason}]}))
    return chunks


def _event(data: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % orjson.dumps(data)


def _error(message: str, kind: str, *, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _refusal(
    status: int, message: str, kind: str, *, param: str | None = None, code: str | None = None
) -> Refusal:
    return Refusal(status, orjson.dumps(_error(message, kind, param=param, code=code)))
