"""Google's native Gemini wire: `generateContent`, `streamGenerateContent`, `countTokens` and the model list.

Shapes: google-genai PyPI `types.py`; ai.google.dev/api. The model and the method stand in the path:
`/v1beta/models/MODEL:generateContent`.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, unquote

import orjson

from simulator import gemini_requests
from simulator.answer import Answer, pieces
from simulator.events import data_event
from simulator.framing import JSON, SSE, Content, Request, plain
from simulator.gemini_errors import GeminiErrors, error_object
from simulator.gemini_fields import normalised
from simulator.wire import ChatCall, PromptTokens, Timing, decode

_STREAM = "streamGenerateContent"
_GENERATE = "GenerateContentRequest"

Json = dict[str, Any]


class GeminiWire(GeminiErrors):
    """`POST …/models/MODEL:METHOD`."""

    name = "gemini"

    def key(self, request: Request) -> bytes | None:
        """`x-goog-api-key`, or `key` in the query."""
        given = request.headers.get(b"x-goog-api-key")
        return given or query(request).get("key", "").encode() or None

    def parse(self, request: Request) -> ChatCall:
        """Read a request; the method says whether it streams."""
        model, method = _place(request)
        call = _call(model, normalised(_GENERATE, decode(request.body)))
        call.is_stream = method == _STREAM
        call.is_array = call.is_stream and query(request).get("alt") != "sse"
        return call

    def parse_count(self, request: Request) -> ChatCall:
        """Read a request to `countTokens`, which may hold one to `generateContent`."""
        data = normalised("CountTokensRequest", decode(request.body))
        return _call(_place(request)[0], data.get("generateContentRequest") or data)

    def count(self, tokens: int) -> bytes:
        """The answer to `countTokens`."""
        details = [{"modality": "TEXT", "tokenCount": tokens}]
        return orjson.dumps({"totalTokens": tokens, "promptTokensDetails": details})

    def answer(self, call: ChatCall, answer: Answer, prompt: PromptTokens, timing: Timing) -> Content:
        """A GenerateContentResponse, or several whose parts add up and whose usage grows."""
        closing = _closing(call, timing)
        reason = "MAX_TOKENS" if answer.is_cut else "STOP"
        usage = _usage(answer, prompt)
        if not call.is_stream:
            candidate = {**_candidate(_parts(call, answer)), "finishReason": reason}
            return plain(JSON, orjson.dumps({"candidates": [candidate], "usageMetadata": usage, **closing}))
        *firsts, last = [
            {"candidates": [_candidate([part])], "usageMetadata": usage, **closing}
            for part in _streamed_parts(call, answer)
        ]
        begun = _usage(None, prompt)
        last["candidates"][0]["finishReason"] = reason
        return _stream(call, [*({**first, "usageMetadata": begun} for first in firsts), last])

    def answer_without_choice(self, call: ChatCall, timing: Timing) -> Content:
        """No `candidates`, and no reason why."""
        return _content(call, _closing(call, timing))

    def blocked(self, call: ChatCall, prompt: PromptTokens, timing: Timing) -> Content:
        """No `candidates`, and `promptFeedback.blockReason`."""
        feedback = {"blockReason": "SAFETY", "safetyRatings": []}
        data = {"promptFeedback": feedback, "usageMetadata": _usage(None, prompt), **_closing(call, timing)}
        return _content(call, data)

    def error_in_answer(self, call: ChatCall, begun: Sequence[bytes] = ()) -> Content:
        """An `error` with status 200; in a stream its last event, or the array's last element."""
        data = error_object(503, "UNAVAILABLE", "The model is overloaded. Please try again later.")
        if not call.is_array:
            event = Content(SSE, [*begun, data_event(data)], is_stream=True)
            return event if call.is_stream else plain(JSON, orjson.dumps(data))
        start = b",\r\n" if begun else b"["
        return Content(JSON, [*begun, start + orjson.dumps(data), b"]"], is_stream=True)


def models(names: Sequence[str]) -> bytes:
    """Body of `GET /v1beta/models`."""
    methods = ["generateContent", "countTokens"]
    found = [
        {
            "name": f"models/{name}",
            "version": "001",
            "displayName": name,
            "inputTokenLimit": 1_048_576,
            "outputTokenLimit": 65_536,
            "supportedGenerationMethods": methods,
        }
        for name in names
    ]
    return orjson.dumps({"models": found})


def query(request: Request) -> dict[str, str]:
    """The last value of each field in a request's query."""
    fields = parse_qs(request.target.partition("?")[2])
    return {name: values[-1] for name, values in fields.items()}


def _place(request: Request) -> tuple[str, str]:
    """Model and method from the path."""
    path = unquote(request.target.partition("?")[0])
    name, _, method = path.rpartition("/models/")[2].rpartition(":")
    return name, method


def _call(model: str, data: Json) -> ChatCall:
    turns = gemini_requests.contents(data)
    gemini_requests.check_signatures(model, turns)
    config = data.get("generationConfig") or {}
    system, prompt = gemini_requests.texts(data, turns)
    media = ("inlineData", "fileData")
    return ChatCall(
        model,
        system,
        prompt,
        gemini_requests.cap_tokens(config),
        is_stream=False,
        demand=gemini_requests.demand(data, config, turns),
        images=sum(gemini_requests.count(turn, kind) for turn in turns for kind in media),
    )


def _closing(call: ChatCall, timing: Timing) -> Json:
    return {"modelVersion": call.model, "responseId": f"sim{int(timing.created_at * 1_000_000):x}"}


def _candidate(parts: list[Json]) -> Json:
    return {"content": {"parts": parts, "role": "model"}, "index": 0}


def _parts(call: ChatCall, answer: Answer) -> list[Json]:
    """A thought part if shown, then the call or the text."""
    thoughts = [{"text": answer.thoughts, "thought": True}] if call.demand.trace is not None else []
    return [*thoughts, _final_part(call, answer)]


def _streamed_parts(call: ChatCall, answer: Answer) -> list[Json]:
    """The same, word by word; a call comes in one piece."""
    thoughts: list[Json] = []
    if call.demand.trace is not None:
        thoughts = [{"text": piece, "thought": True} for piece in pieces(answer.thoughts)]
    if answer.tool_call is not None:
        return [*thoughts, _final_part(call, answer)]
    return [*thoughts, *({"text": piece} for piece in pieces(answer.text))]


def _final_part(call: ChatCall, answer: Answer) -> Json:
    tool_call = answer.tool_call
    if tool_call is None:
        return {"text": answer.text}
    function_call = {"id": f"call_{tool_call.ident}", "name": tool_call.name, "args": tool_call.arguments}
    signature = base64.b64encode(tool_call.ident.encode()).decode()
    return {"functionCall": function_call, "thoughtSignature": signature}


def _usage(answer: Answer | None, prompt: PromptTokens) -> Json:
    """Counters; Google leaves out those that are zero. None: nothing was generated yet."""
    thoughts = answer.thought_tokens if answer is not None else 0
    candidates = answer.tokens - thoughts if answer is not None else 0
    usage = {
        "promptTokenCount": prompt.total,
        "cachedContentTokenCount": prompt.cached,
        "candidatesTokenCount": candidates,
        "thoughtsTokenCount": thoughts,
        "totalTokenCount": prompt.total + candidates + thoughts,
    }
    details = [{"modality": "TEXT", "tokenCount": prompt.total}]
    return {**{name: value for name, value in usage.items() if value}, "promptTokensDetails": details}


def _content(call: ChatCall, data: Json) -> Content:
    return _stream(call, [data]) if call.is_stream else plain(JSON, orjson.dumps(data))


def _stream(call: ChatCall, responses: Sequence[Json]) -> Content:
    """Events, or the elements of one long array."""
    if not call.is_array:
        return Content(SSE, [data_event(response) for response in responses], is_stream=True)
    starts = [b"[", *[b",\r\n"] * (len(responses) - 1)]
    elements = [start + orjson.dumps(response) for start, response in zip(starts, responses, strict=True)]
    return Content(JSON, [*elements, b"]"], is_stream=True)
