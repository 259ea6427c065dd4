"""Bare names that speak of a provider."""

from __future__ import annotations

import pytest

from shared.routing.names import infer_provider


@pytest.mark.parametrize(
    ("name", "provider"),
    [
        ("gemini-3-flash-preview", "gemini"),
        ("deepseek-v4-pro", "deepseek"),
        ("DeepSeek-R1-Distill-Llama", "deepseek"),
        ("kimi-k2.6", "moonshot"),
        ("moonshot-v1-8k", "moonshot"),
        ("grok-4.3", "xai"),
        ("mimo-v2", "xiaomi"),
        ("xiaomi-mimo", "xiaomi"),
        ("gpt-5.4-mini", "openai"),
        ("chatgpt-4o-latest", "openai"),
        ("o1", "openai"),
        ("o3-mini", "openai"),
        ("openai/o4-mini", "openai"),
        ("dall-e-3", "openai"),
        ("llama3:70b", "ollama"),
        ("codellama", "ollama"),
        ("gemma3", "ollama"),
        ("mistral-nemo", "ollama"),
        ("mixtral:8x7b", "ollama"),
        ("qwen3.5:latest", "ollama"),
        ("nomic-embed-text", "ollama"),
        ("claude-opus-4-7", None),
        ("foo1", None),
        ("o12", None),
        ("", None),
    ],
)
def test_name_speaks_of_its_provider(name: str, provider: str | None) -> None:
    """gophergate's rules in their order, in any case; None = the default provider."""
    assert infer_provider(name) == provider
