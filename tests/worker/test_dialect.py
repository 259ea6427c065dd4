"""Whose errors an upstream speaks."""

from __future__ import annotations

import pytest

from shared.settings import Wire
from worker.dialect import Dialect, dialect_of

ADDRESSES: list[tuple[Wire, str, Dialect]] = [
    ("ollama", "http://localhost:11434", "ollama"),
    ("ollama_generate", "http://10.0.0.7:11434", "ollama"),
    ("ollama", "https://ollama.com", "ollama_cloud"),
    ("openai", "https://ollama.com/v1", "ollama_cloud"),
    ("openai", "https://API.OpenAI.com/v1", "openai"),
    ("openai", "https://eu.api.openai.com./v1", "openai"),
    ("openai", "https://us-east-1.api.x.ai/v1", "xai"),
    ("openai", "https://token-plan-ams.xiaomimimo.com/v1", "mimo"),
    ("openai", "https://api.kimi.ai/coding/v1", "kimi"),
    ("openai", "https://api.moonshot.cn/v1", "moonshot"),
    ("openai", "https://notopenai.com/v1", "generic"),
    ("openai", "https://openai.com.example/v1", "generic"),
    ("openai", "https://storage.googleapis.com", "generic"),
    ("openai", "http://[::1]:8000/v1", "generic"),
    ("responses", "http://lab:8000/v1", "generic"),
    ("gemini", "http://lab:8000/v1beta", "gemini"),
    ("anthropic", "http://lab:8000/v1", "anthropic"),
    ("anthropic", "https://opencode.ai/zen/v1", "opencode"),
]


@pytest.mark.parametrize(("wire", "base_url", "dialect"), ADDRESSES)
def test_dialect_follows_from_the_address(wire: Wire, base_url: str, dialect: Dialect) -> None:
    """A vendor is known by its domain; on other hosts the wire tells kinds of servers apart."""
    assert dialect_of(wire, base_url) == dialect
