"""Ollama's wire, local and cloud: `/api/chat`, `/api/generate` and the catalogue. Shapes: ollama `api/types.go`."""

from __future__ import annotations

import abc
import functools
import hashlib
import time
from collections.abc import Sequence
from typing import Any

import orjson

from simulator.answer import Answer
from simulator.digest import flatten
from simulator.durations import go_duration
from simulator.framing import JSON, NDJSON, Content, plain
from simulator.limits import Shortage
from simulator.wire import ChatCall, Refusal, RefusedCall, Timing, decode

VERSION = "0.40.12"
_NS = 1_000_000_000


class OllamaWire(abc.ABC):
    """What chat and generate share; they differ in where the texts stand."""

    name: str

    def parse(self, body: bytes) -> ChatCall:
        """Read a request; streaming is on unless switched off."""
        data = decode(self, body)
        model = data.get("model")
        if not isinstance(model, str) or not model:
            raise RefusedCall(self.invalid("model is required"))
        system, prompt = self._texts(data)
        return ChatCall(model, system, prompt, self._cap(data), data.get("stream") is not False)

    @abc.abstractmethod
    def _texts(self, data: dict[str, Any]) -> tuple[str, str]:
        """The request's system and prompt texts."""

    @abc.abstractmethod
    def _piece(self, text: str) -> dict[str, Any]:
        """The field that carries generated text."""

    def _cap(self, data: dict[str, Any]) -> int | None:
        options = data.get("options") or {}
        if not isinstance(options, dict):
            raise RefusedCall(self.invalid("options must be an object"))
        cap = options.get("num_predict", -1)
        if not isinstance(cap, int):
            raise RefusedCall(self.invalid('option "num_predict" must be of type integer'))
        stop = options.get("stop", [])
        if not isinstance(stop, list):
            raise RefusedCall(self.invalid('option "stop" must be of type array'))
        return cap if cap > 0 else None

    def answer(self, call: ChatCall, answer: Answer, prompt_tokens: int, timing: Timing) -> Content:
        """The answer with its counters; in a stream they stand in the last line."""
        opening = {"model": call.model, "created_at": _rfc3339(timing.created_at)}
        reason = "length" if answer.is_cut else "stop"
        closing = {
            "done": True,
            "done_reason": reason,
            **_counters(prompt_tokens, answer.tokens, timing.elapsed_s),
        }
        if not call.is_stream:
            return plain(JSON, orjson.dumps({**opening, **self._piece(answer.text), **closing}))
        lines = [_line({**opening, **self._piece(piece), "done": False}) for piece in _pieces(answer.text)]
        return Content(NDJSON, [*lines, _line({**opening, **self._piece(""), **closing})], is_stream=True)

    def answer_without_choice(self, call: ChatCall, timing: Timing) -> Content:
        """An answer that lacks its message."""
        data = {
            "model": call.model,
            "created_at": _rfc3339(timing.created_at),
            "done": True,
            "done_reason": "stop",
        }
        if call.is_stream:
            return Content(NDJSON, [_line(data)], is_stream=True)
        return plain(JSON, orjson.dumps(data))

    def error_in_answer(self, call: ChatCall) -> Content:
        """`{"error"}` with status 200; a stream has no `done` line then."""
        data = {"error": "an error was encountered while running the model"}
        if call.is_stream:
            return Content(NDJSON, [_line(data)], is_stream=True)
        return plain(JSON, orjson.dumps(data))

    def invalid(self, message: str) -> Refusal:
        """400."""
        return _refusal(400, message)

    def bad_key(self) -> Refusal:
        """401, as Ollama Cloud words it."""
        return _refusal(401, "unauthorized")

    def unknown_model(self, model: str) -> Refusal:
        """404."""
        return _refusal(404, f'model "{model}" not found')

    def rate_limited(self, model: str) -> Refusal:
        """429, as Ollama Cloud words its immediate form."""
        return _refusal(429, "too many concurrent requests")

    def quota_used_up(self) -> Refusal:
        """429, as Ollama Cloud words a plan's used-up window."""
        return _refusal(429, "you have reached your weekly usage limit")

    def no_money(self) -> Refusal:
        """402, as Ollama Cloud words a model outside the plan."""
        return _refusal(402, "this model is not included in your free usage")

    def short(self, model: str, shortage: Shortage, *, states_wait: bool) -> Refusal:
        """A full server is 503 (the two blanks are Ollama's); a rate limit is 429."""
        if shortage.kind == "concurrency":
            return _refusal(503, "server busy, please try again.  maximum pending requests exceeded")
        text = f"too many {shortage.kind} per minute: limit {shortage.limit}"
        if states_wait and shortage.wait_s is not None:
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
            raise RefusedCall(self.invalid("messages must be an array of objects"))
        if not all(isinstance(message.get("content", ""), str) for message in messages):
            # Unlike OpenAI's, this wire knows no content parts.
            text = "json: cannot unmarshal array into Go struct field ChatRequest.messages.content of type string"
            raise RefusedCall(self.invalid(text))
        return flatten(messages)

    def _piece(self, text: str) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text}}


class OllamaGenerate(OllamaWire):
    """`POST /api/generate`."""

    name = "ollama_generate"

    def _texts(self, data: dict[str, Any]) -> tuple[str, str]:
        system, prompt = data.get("system", ""), data.get("prompt", "")
        if not isinstance(system, str) or not isinstance(prompt, str):
            raise RefusedCall(self.invalid("prompt and system must be strings"))
        return system, prompt

    def _piece(self, text: str) -> dict[str, Any]:
        return {"response": text}


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
        "modified_at": _rfc3339(0.0),
        "size": 1_000_000_000,
        "digest": hashlib.sha256(model.encode()).hexdigest(),
        "details": details,
    }


def _refusal(status: int, message: str) -> Refusal:
    return Refusal(status, orjson.dumps({"error": message}))


def _line(data: dict[str, Any]) -> bytes:
    return orjson.dumps(data, option=orjson.OPT_APPEND_NEWLINE)


def _pieces(text: str) -> list[str]:
    first, *others = text.split(" ")
    return [first, *(f" {word}" for word in others)]


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


def _rfc3339(at: float) -> str:
    whole = int(at)
    return f"{_rfc3339_second(whole)}.{int((at - whole) * 1_000_000):06d}Z"


@functools.lru_cache(maxsize=16)
def _rfc3339_second(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))
