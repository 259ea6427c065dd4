"""Which request goes where: the chat wires, the catalogues, and the simulator's own pages.

Chat paths and catalogues are known by how they end, so a base URL may carry any prefix (`/ollama_cloud/api/chat`,
`/openrouter/v1/chat/completions`) and the log's `path` tells providers on one port apart.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import orjson

from simulator import ollama, openai
from simulator.control import Control
from simulator.framing import JSON, TEXT, Content, Request, plain
from simulator.provider import Exchange, Provider
from simulator.reply import Reply, content_reply
from simulator.wire import Wire

_CATALOGUE = ("qwen3.5:latest", "qwen3:latest", "kimi-k2.6", "anthropic/claude-opus-4-7", "openai/gpt-5")
"""Listed when every model is known."""

_WIRES: tuple[tuple[str, Wire], ...] = (
    ("/api/chat", ollama.OllamaChat()),
    ("/api/generate", ollama.OllamaGenerate()),
    ("/chat/completions", openai.OpenAIWire()),
)


class Router:
    """Turns a request into an exchange."""

    def __init__(self, provider: Provider, begin_outage: Callable[[float], None]) -> None:
        self._provider = provider
        self._control = Control(provider, begin_outage)

    def open(self, request: Request) -> Exchange:
        """Decide what happens to a request. Every exchange must be closed at the provider."""
        path, _, query = request.target.partition("?")
        if request.method == b"POST":
            wire = _wire_at(path)
            if wire is not None:
                return self._provider.open(wire, request, path)
        return Exchange(functools.partial(self._page, request, path, query))

    def _page(self, request: Request, path: str, query: str) -> Reply:
        if path.startswith("/_sim/"):
            status, content = self._control.answer(request.method, path, query, request.body)
        elif request.method == b"GET":
            status, content = self._catalogue(request, path)
        else:
            status, content = _not_found()
        return content_reply(status, content, is_keep_alive=request.is_keep_alive)

    def _catalogue(self, request: Request, path: str) -> tuple[int, Content]:
        names = self._provider.config.models or _CATALOGUE
        if path == "/":
            return 200, plain(TEXT, b"Ollama is running")
        if path.endswith("/api/version"):
            return 200, plain(JSON, orjson.dumps({"version": ollama.VERSION}))
        if path.endswith("/api/tags"):
            # Public even where a key is asked for, as at Ollama Cloud.
            return 200, plain(JSON, ollama.tags(names))
        if path.endswith("/models"):
            if not self._provider.has_key(request):
                return 401, plain(JSON, openai.OpenAIWire().bad_key().body)
            return 200, plain(JSON, openai.models(names))
        return _not_found()


@functools.lru_cache(maxsize=1024)
def _wire_at(path: str) -> Wire | None:
    return next((wire for ending, wire in _WIRES if path.endswith(ending)), None)


def _not_found() -> tuple[int, Content]:
    return 404, plain(TEXT, b"404 page not found")
