"""Which request goes where: the chat wires, the catalogues, and the simulator's own pages.

Chat paths and catalogues are known by how they end, so a base URL may carry any prefix (`/ollama_cloud/api/chat`,
`/openrouter/v1/chat/completions`) and the log's `path` tells providers on one port apart.

- Ollama: `/api/chat`, `/api/generate`, `/api/tags`, `/api/version`
- OpenAI: `/chat/completions`, `/responses`, `/models`
- Anthropic: `/messages`, `/messages/count_tokens`, `/models` with the header `anthropic-version`
- Gemini: `/models/MODEL:generateContent`, `:streamGenerateContent`, `:countTokens`; `/v1beta/models`, and `/models`
  with a key in Google's header or query
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import orjson

from simulator import anthropic, gemini, ollama, openai
from simulator.control import Control
from simulator.framing import JSON, TEXT, Content, Request, plain
from simulator.provider import Exchange, Provider
from simulator.refusals import RefusedCall
from simulator.reply import Reply, content_reply, refusal_reply
from simulator.responses import ResponsesWire
from simulator.wire import CountingWire, Wire

_CATALOGUE = ("qwen3.5:latest", "qwen3:latest", "kimi-k2.6", "anthropic/claude-opus-4-7", "openai/gpt-5")
"""Listed when every model is known."""

_ANTHROPIC = anthropic.AnthropicWire()
_GEMINI = gemini.GeminiWire()
_OPENAI = openai.OpenAIWire()

_WIRES: tuple[tuple[str, Wire], ...] = (
    ("/api/chat", ollama.OllamaChat()),
    ("/api/generate", ollama.OllamaGenerate()),
    ("/chat/completions", _OPENAI),
    ("/responses", ResponsesWire()),
    ("/messages", _ANTHROPIC),
    (":generateContent", _GEMINI),
    (":streamGenerateContent", _GEMINI),
)
_COUNTERS: tuple[tuple[str, CountingWire], ...] = (
    ("/messages/count_tokens", _ANTHROPIC),
    (":countTokens", _GEMINI),
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
        try:
            status, content = self._content(request, path, query)
        except RefusedCall as refused:
            return refusal_reply(refused.refusal, is_keep_alive=request.is_keep_alive)
        return content_reply(status, content, is_keep_alive=request.is_keep_alive)

    def _content(self, request: Request, path: str, query: str) -> tuple[int, Content]:
        if path.startswith("/_sim/"):
            return self._control.answer(request.method, path, query, request.body)
        if request.method == b"GET":
            return self._catalogue(request, path)
        counter = next((wire for ending, wire in _COUNTERS if path.endswith(ending)), None)
        if request.method == b"POST" and counter is not None:
            return 200, plain(JSON, counter.count(self._provider.count_tokens(counter, request)))
        return _not_found()

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
            return 200, plain(JSON, self._models(request, path, names))
        return _not_found()

    def _models(self, request: Request, path: str, names: Sequence[str]) -> bytes:
        """The list in the shape of the wire whose key or version header the request carries."""
        if b"anthropic-version" in request.headers:
            self._provider.check_key(_ANTHROPIC, request)
            return anthropic.models(names)
        if path.endswith("/v1beta/models") or _GEMINI.key(request):
            self._provider.check_key(_GEMINI, request)
            return gemini.models(names)
        self._provider.check_key(_OPENAI, request)
        return openai.models(names)


@functools.lru_cache(maxsize=1024)
def _wire_at(path: str) -> Wire | None:
    return next((wire for ending, wire in _WIRES if path.endswith(ending)), None)


def _not_found() -> tuple[int, Content]:
    return 404, plain(TEXT, b"404 page not found")
