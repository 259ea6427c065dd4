"""The digest that ties an answer to the request it belongs to.

Recipe: `blake2b(JSON [model, system, prompt], 8 bytes)` as 16 hex characters, where the JSON is compact UTF-8,
`model` is the name as the upstream receives it (prefixes already stripped), and the two texts are

- `system`: the texts of all `system` and `developer` messages, joined by a blank line;
- `prompt`: the texts of all other messages in order, joined by a blank line; roles do not count.

The text of a message is its content string, or its text parts joined by a line feed; images, tool calls and
thoughts do not count. A tool's result is a message of its own (Gemini's is an object: its only text, as in
`{"result": "sunny"}`, else an empty one). Where the system text stands outside the messages it comes first, and its
parts or blocks count as one message each. For Ollama's `/api/generate` the two texts are its fields `system` and
`prompt`.

So one system text and one user text give the same digest on every wire. A longer conversation does so on the chat
wires, unless the client merges turns of one role (as some do for Anthropic and Gemini), and on `/api/generate` only
if the client flattens it just like this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

_DIGEST_BYTES = 8
_SYSTEM_ROLES = frozenset(("system", "developer"))
_TEXT_PARTS = frozenset(("text", "input_text", "output_text"))
"""The last two are Responses' names."""


def request_digest(model: str, messages_or_prompt: Sequence[Mapping[str, Any]] | str) -> str:
    """The digest of a chat request, from its messages or from a bare prompt.

    Args:
        model: The model's name at the upstream.
        messages_or_prompt: Chat messages in OpenAI's or Ollama's form, or one user text.
    """
    if isinstance(messages_or_prompt, str):
        return text_digest(model, "", messages_or_prompt)
    return text_digest(model, *flatten(messages_or_prompt))


def text_digest(model: str, system_text: str, user_text: str) -> str:
    """The digest of a request made of one system text (may be empty) and one user text."""
    text = orjson.dumps((model, system_text, user_text))
    return hashlib.blake2b(text, digest_size=_DIGEST_BYTES).hexdigest()


def flatten(messages: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The `system` and `prompt` texts of a conversation, as the module describes them."""
    system: list[str] = []
    prompt: list[str] = []
    for message in messages:
        (system if message.get("role") in _SYSTEM_ROLES else prompt).append(content_text(message))
    return "\n\n".join(system), "\n\n".join(prompt)


def content_text(message: Mapping[str, Any]) -> str:
    """The text of one message; empty when it has none."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "\n".join(part["text"] for part in content if isinstance(part, dict) and _is_text(part))


def _is_text(part: dict[str, Any]) -> bool:
    return part.get("type") in _TEXT_PARTS and isinstance(part.get("text"), str)
