"""What a bare model name says of its maker (`[routing] bare = "infer"`). Pure."""

from __future__ import annotations

import re

NAME_RULES: tuple[tuple[str, str], ...] = (
    (r"gemini", "gemini"),
    (r"deepseek", "deepseek"),
    (r"kimi|moonshot", "moonshot"),
    (r"grok", "xai"),
    (r"mimo|xiaomi", "xiaomi"),
    # o1 in the middle of a word is no model of OpenAI's.
    (r"gpt|dall-e|(?<![a-z0-9])o[134](?![a-z0-9])", "openai"),
    (r"llama|gemma|mistral|mixtral|qwen|phi|codestral|starcoder|vicuna|nomic|llava|granite|smollm", "ollama"),
)
"""Words in a name and the provider they speak of; the first rule that matches wins, so that
`deepseek-r1-distill-llama` is DeepSeek's (gophergate's rules and their order)."""

_RULES = tuple((re.compile(words), provider) for words, provider in NAME_RULES)


def infer_provider(name: str) -> str | None:
    """The provider that a model's name speaks of, in any case; None when it says nothing."""
    lowered = name.lower()
    return next((provider for words, provider in _RULES if words.search(lowered)), None)
