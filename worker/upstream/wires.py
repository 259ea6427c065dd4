"""Every wire, by the name that settings give it."""

from __future__ import annotations

from collections.abc import Mapping

from shared.settings import Wire as WireName
from worker.upstream.anthropic import ANTHROPIC
from worker.upstream.gemini import GEMINI
from worker.upstream.ollama import OLLAMA
from worker.upstream.ollama_generate import OLLAMA_GENERATE
from worker.upstream.openai import OPENAI
from worker.upstream.responses import RESPONSES
from worker.upstream.wire import Wire

WIRES: Mapping[WireName, Wire] = {
    "openai": OPENAI,
    "ollama": OLLAMA,
    "ollama_generate": OLLAMA_GENERATE,
    "gemini": GEMINI,
    "anthropic": ANTHROPIC,
    "responses": RESPONSES,
}
