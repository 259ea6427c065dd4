"""How each wire is asked for a stream, what puts its answer together, and what tells its pieces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from shared.settings import Wire as WireName
from worker.upstream.deltas import (
    AnthropicDeltas,
    Deltas,
    GeminiDeltas,
    OllamaDeltas,
    OpenAiDeltas,
    ResponsesDeltas,
)
from worker.upstream.streams.anthropic import AnthropicAssembler
from worker.upstream.streams.assembler import Assembler
from worker.upstream.streams.gemini import GeminiAssembler
from worker.upstream.streams.ollama import OllamaAssembler
from worker.upstream.streams.openai import OpenAiAssembler
from worker.upstream.streams.responses import ResponsesAssembler


@dataclass(frozen=True, slots=True)
class Stream:
    """The streamed form of a wire.

    Attributes:
        assembler: Makes one for each answer.
        deltas: Makes one for each answer that is passed on as it comes.
        fields: Laid over the request's body.
        path: In place of the wire's path; None: the same.
    """

    assembler: Callable[[], Assembler]
    deltas: Callable[[], Deltas]
    fields: Mapping[str, Any]
    path: str | None = None


_SWITCH = {"stream": True}

STREAMS: Mapping[WireName, Stream] = {
    # Without the option, the usage is left out.
    "openai": Stream(
        OpenAiAssembler, OpenAiDeltas, {"stream": True, "stream_options": {"include_usage": True}}
    ),
    "responses": Stream(ResponsesAssembler, ResponsesDeltas, _SWITCH),
    "anthropic": Stream(AnthropicAssembler, AnthropicDeltas, _SWITCH),
    "gemini": Stream(GeminiAssembler, GeminiDeltas, {}, path="/models/{model}:streamGenerateContent?alt=sse"),
    "ollama": Stream(OllamaAssembler, OllamaDeltas, _SWITCH),
    "ollama_generate": Stream(OllamaAssembler, OllamaDeltas, _SWITCH),
}
