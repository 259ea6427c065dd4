"""Deltas: the events of each wire's stream as pieces of one answer in OpenAI's words (docs/openai-wire.md §5.2).

They are what a caller sees while the answer comes. What counts in the end is the whole answer, which `streams` puts
together from the same events: nothing here raises, and what is not understood is left to it.
"""

from worker.upstream.deltas.anthropic import AnthropicDeltas
from worker.upstream.deltas.delta import Choice, Deltas, OnDelta
from worker.upstream.deltas.gemini import GeminiDeltas
from worker.upstream.deltas.ollama import OllamaDeltas
from worker.upstream.deltas.openai import OpenAiDeltas
from worker.upstream.deltas.responses import ResponsesDeltas

__all__ = [
    "AnthropicDeltas",
    "Choice",
    "Deltas",
    "GeminiDeltas",
    "OllamaDeltas",
    "OnDelta",
    "OpenAiDeltas",
    "ResponsesDeltas",
]
