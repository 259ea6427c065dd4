"""Chat calls to a simulator on each of its wires."""

from __future__ import annotations

from typing import Any

import httpx

PATHS = {
    "ollama": "/api/chat",
    "ollama_generate": "/api/generate",
    "openai": "/v1/chat/completions",
    "responses": "/v1/responses",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/m:generateContent",
}
"""Of a call without streaming to the model `m`."""
WIRES = sorted(PATHS)
OPENAI_HEADERS = ("ollama", "ollama_generate", "openai", "responses")
"""The wires that tell of their limits as OpenAI does."""
USAGE = {
    "ollama": ("prompt_eval_count", "eval_count"),
    "ollama_generate": ("prompt_eval_count", "eval_count"),
    "openai": ("prompt_tokens", "completion_tokens"),
    "responses": ("input_tokens", "output_tokens"),
    "anthropic": ("input_tokens", "output_tokens"),
    "gemini": ("promptTokenCount", "candidatesTokenCount"),
}


def path(wire: str, model: str = "m", *, is_stream: bool = False) -> str:
    """Path and query; Gemini's names the model and says whether it streams."""
    if wire != "gemini":
        return PATHS[wire]
    return f"/v1beta/models/{model}:{'streamGenerateContent?alt=sse' if is_stream else 'generateContent'}"


def body(wire: str, model: str = "m", user: str = "hi", system: str = "", **fields: Any) -> dict[str, Any]:
    """A request body without streaming."""
    texts: dict[str, Any]
    match wire:
        case "ollama_generate":
            texts = {"prompt": user, "system": system}
        case "responses":
            texts = {"input": user, "instructions": system}
        case "anthropic":
            texts = {"messages": [{"role": "user", "content": user}], "max_tokens": 8192}
            texts |= {"system": system} if system else {}
        case "gemini":
            texts = {"contents": [{"role": "user", "parts": [{"text": user}]}]}
            return texts | ({"systemInstruction": {"parts": [{"text": system}]}} if system else {}) | fields
        case _:
            opening = [{"role": "system", "content": system}] if system else []
            texts = {"messages": [*opening, {"role": "user", "content": user}]}
    return {"model": model, "stream": False, **texts, **fields}


def call(
    url: str,
    wire: str,
    *,
    model: str = "m",
    stream: bool = False,
    headers: dict[str, str] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """One chat call as arguments for httpx; a key among the headers is put where the wire has it."""
    flags = {"stream": True} if stream and wire != "gemini" else {}
    return {
        "method": "POST",
        "url": url + path(wire, model, is_stream=stream),
        "json": body(wire, model, **flags, **fields),
        "headers": {"anthropic-version": "2023-06-01", **(headers or {})},
    }


async def chat(client: httpx.AsyncClient, url: str, wire: str, **fields: Any) -> httpx.Response:
    """Send one chat call."""
    return await client.request(**call(url, wire, **fields))


def key_headers(wire: str, key: str) -> dict[str, str]:
    """The header that carries a key."""
    names = {"anthropic": "x-api-key", "gemini": "x-goog-api-key"}
    return {names[wire]: key} if wire in names else {"authorization": f"Bearer {key}"}


def answer_text(wire: str, data: dict[str, Any]) -> str:
    """The generated text of a plain answer, or of one event of an Ollama stream."""
    match wire:
        case "ollama_generate":
            return str(data["response"])
        case "ollama":
            return str(data["message"]["content"])
        case "responses":
            return str(data["output"][-1]["content"][0]["text"])
        case "anthropic":
            return str(data["content"][-1]["text"])
        case "gemini":
            return str(data["candidates"][0]["content"]["parts"][-1]["text"])
    return str(data["choices"][0]["message"]["content"])


def usage(wire: str, data: dict[str, Any]) -> tuple[int, int]:
    """Prompt and output tokens of a plain answer."""
    counters = data.get("usage") or data.get("usageMetadata") or data
    given, made = USAGE[wire]
    return counters[given], counters[made]


def error_text(wire: str, response: httpx.Response) -> str:
    """The message of an error answer."""
    error = response.json()["error"]
    return str(error if wire.startswith("ollama") else error["message"])
