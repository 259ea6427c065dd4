"""How each wire is asked for a stream, and what puts its answer together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from shared.settings import Wire as WireName
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
        fields: Laid over the request's body.
        path: In place of the wire's path; None: the same.
    """

    assembler: Callable[[], Assembler]
    fields: Mapping[str, Any]
    path: str | None = None


_SWITCH = {"stream": True}

STREAMS: Mapping[WireName, Stream] = {
    # Without the option, the usage is left out.
    "openai": Stream(OpenAiAssembler, {"stream": True, "stream_options": {"include_usage": True}}),
    "responses": Stream(ResponsesAssembler, _SWITCH),
    "anthropic": Stream(AnthropicAssembler, _SWITCH),
    "gemini": Stream(GeminiAssembler, {}, path="/models/{model}:streamGenerateContent?alt=sse"),
    "ollama": Stream(OllamaAssembler, _SWITCH),
    "ollama_generate": Stream(OllamaAssembler, _SWITCH),
}
