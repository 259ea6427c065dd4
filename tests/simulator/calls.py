"""Chat calls to a simulator on each of its wires."""

from __future__ import annotations

from typing import Any

import httpx

PATHS = {"ollama": "/api/chat", "ollama_generate": "/api/generate", "openai": "/v1/chat/completions"}
WIRES = sorted(PATHS)


def body(wire: str, model: str = "m", user: str = "hi", system: str = "", **fields: Any) -> dict[str, Any]:
    """A request body without streaming."""
    if wire == "ollama_generate":
        texts: dict[str, Any] = {"prompt": user, "system": system}
    else:
        opening = [{"role": "system", "content": system}] if system else []
        texts = {"messages": [*opening, {"role": "user", "content": user}]}
    return {"model": model, "stream": False, **texts, **fields}


async def chat(
    client: httpx.AsyncClient,
    url: str,
    wire: str,
    *,
    headers: dict[str, str] | None = None,
    **fields: Any,
) -> httpx.Response:
    """Send one chat call."""
    return await client.post(url + PATHS[wire], json=body(wire, **fields), headers=headers)


def answer_text(wire: str, data: dict[str, Any]) -> str:
    """The generated text of a plain answer, or of one event of a stream."""
    if wire == "ollama_generate":
        return str(data["response"])
    if wire == "ollama":
        return str(data["message"]["content"])
    return str(data["choices"][0]["message"]["content"])


def error_text(wire: str, response: httpx.Response) -> str:
    """The message of an error answer."""
    error = response.json()["error"]
    return str(error["message"] if wire == "openai" else error)
