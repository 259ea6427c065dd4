"""A dialect: whose errors an upstream speaks. It follows from the wire and the address."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from shared.settings import Wire

Dialect = Literal[
    "generic",
    "ollama",
    "ollama_cloud",
    "openrouter",
    "opencode",
    "kimi",
    "moonshot",
    "openai",
    "gemini",
    "deepseek",
    "xai",
    "mimo",
    "anthropic",
]
"""One a vendor. `generic` is every other server, on-prem ones above all; `ollama` is Ollama's own daemon."""

_VENDORS: dict[str, Dialect] = {
    "ollama.com": "ollama_cloud",
    "openrouter.ai": "openrouter",
    "opencode.ai": "opencode",
    "kimi.com": "kimi",
    "kimi.ai": "kimi",
    "moonshot.ai": "moonshot",
    "moonshot.cn": "moonshot",
    "openai.com": "openai",
    "generativelanguage.googleapis.com": "gemini",
    "deepseek.com": "deepseek",
    "x.ai": "xai",
    "xiaomimimo.com": "mimo",
    "anthropic.com": "anthropic",
}
"""By domain, its subdomains included: regions and plans have hosts of their own (docs/provider-wire.md)."""

_BY_WIRE: dict[Wire, Dialect] = {
    "ollama": "ollama",
    "ollama_generate": "ollama",
    "gemini": "gemini",
    "anthropic": "anthropic",
}
"""On other hosts. OpenAI's two are spoken by servers of every kind."""


def dialect_of(wire: Wire, base_url: str) -> Dialect:
    """The dialect of the server at an address.

    Args:
        wire: How it is spoken to; tells kinds of servers apart on unknown hosts.
        base_url: A provider's base URL.
    """
    labels = (urlsplit(base_url).hostname or "").rstrip(".").split(".")
    for start in range(len(labels)):
        vendor = _VENDORS.get(".".join(labels[start:]))
        if vendor is not None:
            return vendor
    return _BY_WIRE.get(wire, "generic")
