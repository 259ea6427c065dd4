"""Ollama's wire, local and cloud: `/api/chat`, `/api/generate` and the catalogue. Shapes: ollama `api/types.go`."""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Sequence
from typing import Any

import orjson

from simulator.answer import Answer, ToolCall, pieces
from simulator.config import RateHeaders
from simulator.demand import WORDS, Demand, Tool, ToolChoice, choose_tool
from simulator.digest import flatten
from simulator.durations import go_duration
from simulator.framing import JSON, NDJSON, Content, Request, plain
from simulator.limits import Shortage
from simulator.notices import Dialect
from simulator.refusals import InvalidRequest, Refusal
from simulator.timestamps import rfc3339
from simulator.wire import ChatCall, PromptTokens, Timing, bearer, decode, is_base64

VERSION = "0.40.12"
_NS = 1_000_000_000
_FORMS = frozenset(("tools", "format", "think"))
_LEVELS = ("high", "medium", "low", "max")
_DECLINED = "I'm sorry, I cannot assist with that request."


class OllamaWire(abc.ABC):
    """What chat and generate share; they differ in where the texts stand."""

    name: str
    dialect = Dialect.OPENAI

    def key(self, request: Request) -> bytes | None:
        """Bearer, as Ollama Cloud has it."""
        return bearer(request)

    def parse(self, request: Request) -> ChatCall:
        """Read a request; streaming is on unless switched off."""
        data = decode(request.body)
        model = data.get("model")
        if not isinstance(model, str) or not model:
            raise InvalidRequest("model is required")
        system, prompt = self._texts(data)
        return ChatCall(
            model,
            system,
            prompt,
            _cap(data),
            data.get("stream") is not False,
            WORDS if _FORMS.isdisjoint(data) else self._demand(data),
            self._images(data),
        )

    @abc.abstractmethod
    def _texts(self, data: dict[str, Any]) -> tuple[str, str]:
        """The request's system and prompt texts."""

    @abc.abstractmethod
    def _demand(self, data: dict[str, Any]) -> Demand:
        """What is asked for besides words."""

    @abc.abstractmethod
    def _images(self, data: dict[str, Any]) -> int:
        """How many images the request carries."""

    @abc.abstractmethod
    def _piece(self, text: str, thinking: str = "", tool_call: ToolCall | None = None) -> dict[str, Any]:
        """The fields that carry what was generated."""

    def answer(self, call: ChatCall, answer: Answer, prompt: PromptTokens, timing: Timing) -> Content:
        """The answer with its counters; in a stream they stand in the last line."""
        opening = {"model": call.model, "created_at": rfc3339(timing.created_at)}
        reason = "length" if answer.is_cut else "stop"
        closing = {
            "done": True,
            "done_reason": reason,
            **_counters(prompt.total, answer.tokens, timing.elapsed_s),
        }
        if not call.is_stream:
            whole = self._piece(answer.text, answer.thoughts, answer.tool_call)
            return plain(JSON, orjson.dumps({**opening, **whole, **closing}))
        lines = [_line({**opening, **piece, "done": False}) for piece in self._stream(answer)]
        return Content(NDJSON, [*lines, _line({**opening, **self._piece(""), **closing})], is_stream=True)

    def _stream(self, answer: Answer) -> list[dict[str, Any]]:
        """What the lines carry: thoughts, then a tool call in one piece or words."""
        thoughts = [self._piece("", piece) for piece in pieces(answer.thoughts)] if answer.thoughts else []
        if answer.tool_call is not None:
            return [*thoughts, self._piece("", "", answer.tool_call)]
        return [*thoughts, *(self._piece(piece) for piece in pieces(answer.text))]

    def answer_without_choice(self, call: ChatCall, timing: Timing) -> Content:
        """An answer that lacks its message."""
        data = {
            "model": call.model,
            "created_at": rfc3339(timing.created_at),
            "done": True,
            "done_reason": "stop",
        }
        if call.is_stream:
            return Content(NDJSON, [_line(data)], is_stream=True)
        return plain(JSON, orjson.dumps(data))

    def blocked(self, call: ChatCall, prompt: PromptTokens, timing: Timing) -> Content:
        """The model says so in words: this wire has no form for it."""
        return self.answer(call, Answer(_DECLINED, 0, is_cut=False), prompt, timing)

    def error_in_answer(self, call: ChatCall, begun: Sequence[bytes] = ()) -> Content:
        """`{"error"}` with status 200; a stream has no `done` line then."""
        data = {"error": "an error was encountered while running the model"}
        if call.is_stream:
            return Content(NDJSON, [*begun, _line(data)], is_stream=True)
        return plain(JSON, orjson.dumps(data))

    def invalid(self, message: str, field: str | None = None) -> Refusal:
        """400; this wire names no field."""
        return _refusal(400, message)

    def no_key(self) -> Refusal:
        """401, as Ollama Cloud words it."""
        return self.bad_key()

    def bad_key(self) -> Refusal:
        """401, as Ollama Cloud words it."""
        return _refusal(401, "unauthorized")

    def unknown_model(self, model: str) -> Refusal:
        """404."""
        return _refusal(404, f'model "{model}" not found')

    def rate_limited(self, model: str, wait_s: float | None) -> Refusal:
        """429, as Ollama Cloud words its immediate form."""
        return _refusal(429, "too many concurrent requests")

    def quota_used_up(self) -> Refusal:
        """429, as Ollama Cloud words a plan's used-up window."""
        return _refusal(429, "you have reached your weekly usage limit")

    def no_money(self) -> Refusal:
        """402, as Ollama Cloud words a model outside the plan."""
        return _refusal(402, "this model is not included in your free usage")

    def short(self, model: str, shortage: Shortage, told: RateHeaders) -> Refusal:
        """A full server is 503 (the two blanks are Ollama's); a rate limit is 429."""
        if shortage.kind == "concurrency":
            return _refusal(503, "server busy, please try again.  maximum pending requests exceeded")
        text = f"too many {shortage.kind} per minute: limit {shortage.limit}"
        if told == "openai" and shortage.wait_s is not None:
            text += f", please try again in {go_duration(shortage.wait_s)}"
        return _refusal(429, text)

    def failed(self, status: int) -> Refusal:
        """500 or 503, as Ollama Cloud words them; 529 as a gateway in front of it may."""
        overloaded = "Server overloaded, please retry shortly"
        return _refusal(status, "internal server error" if status == 500 else overloaded)


class OllamaChat(OllamaWire):
    """`POST /api/chat`."""

    name = "ollama"

    def _texts(self, data: dict[str, Any]) -> tuple[str, str]:
        messages = data.get("messages") or []
        if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
            raise InvalidRequest("messages must be an array of objects")
        if not all(isinstance(message.get("content", ""), str) for message in messages):
            # Unlike OpenAI's, this wire knows no content parts.
            raise InvalidRequest(
                "json: cannot unmarshal array into Go struct field ChatRequest.messages.content of type string"
            )
        return flatten(messages)

    def _demand(self, data: dict[str, Any]) -> Demand:
        messages = data.get("messages") or []
        is_after_result = bool(messages) and messages[-1].get("role") == "tool"
        tool = choose_tool(_tools(data), ToolChoice(), is_after_result=is_after_result)
        return Demand(tool, *_format(data), *_think(data))

    def _images(self, data: dict[str, Any]) -> int:
        return sum(_count_images(message) for message in data.get("messages") or [])

    def _piece(self, text: str, thinking: str = "", tool_call: ToolCall | None = None) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if thinking:
            message["thinking"] = thinking
        if tool_call is not None:
            function = {"index": 0, "name": tool_call.name, "arguments": tool_call.arguments}
            message["tool_calls"] = [{"id": f"call_{tool_call.ident}", "function": function}]
        return {"message": message}


class OllamaGenerate(OllamaWire):
    """`POST /api/generate`; it knows no tools."""

    name = "ollama_generate"

    def _texts(self, data: dict[str, Any]) -> tuple[str, str]:
        system, prompt = data.get("system", ""), data.get("prompt", "")
        if not isinstance(system, str) or not isinstance(prompt, str):
            raise InvalidRequest("prompt and system must be strings")
        return system, prompt

    def _demand(self, data: dict[str, Any]) -> Demand:
        return Demand(None, *_format(data), *_think(data))

    def _images(self, data: dict[str, Any]) -> int:
        return _count_images(data)

    def _piece(self, text: str, thinking: str = "", tool_call: ToolCall | None = None) -> dict[str, Any]:
        return {"response": text, "thinking": thinking} if thinking else {"response": text}


def tags(models: Sequence[str]) -> bytes:
    """Body of `GET /api/tags`."""
    return orjson.dumps({"models": [_tag(model) for model in models]})


def _tag(model: str) -> dict[str, Any]:
    details = {
        "parent_model": "",
        "format": "gguf",
        "family": "simulated",
        "families": ["simulated"],
        "parameter_size": "1B",
        "quantization_level": "Q4_K_M",
    }
    return {
        "name": model,
        "model": model,
        "modified_at": rfc3339(0.0),
        "size": 1_000_000_000,
        "digest": hashlib.sha256(model.encode()).hexdigest(),
        "details": details,
    }


def _refusal(status: int, message: str) -> Refusal:
    return Refusal(status, orjson.dumps({"error": message}))


def _line(data: dict[str, Any]) -> bytes:
    return orjson.dumps(data, option=orjson.OPT_APPEND_NEWLINE)


def _cap(data: dict[str, Any]) -> int | None:
    options = data.get("options") or {}
    if not isinstance(options, dict):
        raise InvalidRequest("options must be an object")
    cap = options.get("num_predict", -1)
    if not isinstance(cap, int):
        raise InvalidRequest('option "num_predict" must be of type integer')
    stop = options.get("stop", [])
    if not isinstance(stop, list):
        raise InvalidRequest('option "stop" must be of type array')
    return cap if cap > 0 else None


def _tools(data: dict[str, Any]) -> list[Tool]:
    """The functions on offer; any name will do."""
    tools = data.get("tools") or []
    found = []
    for tool in tools:
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or "name" not in function:
            raise InvalidRequest("tools must be an array of functions with a name")
        found.append(Tool(str(function["name"]), function.get("parameters") or {}))
    return found


def _format(data: dict[str, Any]) -> tuple[bool, dict[str, Any] | None]:
    """Whether JSON is asked for, and to which schema."""
    form = data.get("format")
    if form is None or form == "":
        return False, None
    if form == "json":
        return True, None
    if isinstance(form, dict):
        return True, form
    raise InvalidRequest(f'invalid format: {form!r}; expected "json" or a valid JSON Schema object')


def _think(data: dict[str, Any]) -> tuple[bool, str | None]:
    """Whether the model thinks, and where that shows; it does not unless told to."""
    think = data.get("think")
    if think is None or isinstance(think, bool) or think in _LEVELS:
        return bool(think), "thinking" if think else None
    raise InvalidRequest(
        f'invalid think value: "{think}" (must be "high", "medium", "low", "max", true, or false)'
    )


def _count_images(holder: dict[str, Any]) -> int:
    images = holder.get("images") or []
    if not isinstance(images, list) or not all(map(is_base64, images)):
        raise InvalidRequest("illegal base64 data at input byte 0")
    return len(images)


def _counters(prompt_tokens: int, output_tokens: int, elapsed_s: float) -> dict[str, int]:
    """Token counts and nanosecond durations; Go leaves out zeros, so they are left out here."""
    total_ns = max(1, int(elapsed_s * _NS))
    counters = {
        "total_duration": total_ns,
        "prompt_eval_count": prompt_tokens,
        "prompt_eval_duration": total_ns // 10,
        "eval_count": output_tokens,
        "eval_duration": total_ns - total_ns // 10,
    }
    return {name: value for name, value in counters.items() if value}
