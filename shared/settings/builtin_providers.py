"""The providers that are known without being configured, as data (docs/provider-wire.md).

What is special about single models of theirs stands in `builtin_models.py`.
"""

from __future__ import annotations

from typing import Any

_LAKEHOUSE = "/etc/lakehouse/{}.env"

_STREAMED: dict[str, Any] = {"stream": True, "timeout_s": 900.0}
"""A stall is seen within a minute, so an answer may take long: 15 min, as OpenAI says of its flex tier (§7)."""

BUILTIN_PROVIDERS: dict[str, dict[str, Any]] = {
    "ollama": {"wire": "ollama", "base_url": "http://localhost:11434"},
    "ollama_cloud": {
        "wire": "ollama_generate",
        "base_url": "https://ollama.com",
        "key_env": "OLLAMA_CLOUD_KEY",
        "key_file": _LAKEHOUSE.format("ollama_cloud"),
    },
    "openrouter": {
        "wire": "openai",
        "base_url": "https://openrouter.ai/api/v1",
        "key_env": "OPENROUTER_API_KEY",
        "key_file": _LAKEHOUSE.format("openrouter"),
        "quirks": ("think_as_reasoning",),
    },
    "opencode": {
        "wire": "openai",
        "base_url": "https://opencode.ai/zen/v1",
        "key_env": "OPENCODE_API_KEY",
        "key_file": _LAKEHOUSE.format("opencode"),
        # One key header for all of its wires, whatever a wire's own is.
        "key_header": "Authorization",
        "quirks": ("opencode_session", "safe_function_names", "text_beside_tool_calls"),
    },
    "kimi": {
        "wire": "openai",
        "base_url": "https://api.kimi.com/coding/v1",
        "key_env": "KIMI_API_KEY",
        "key_file": _LAKEHOUSE.format("kimi"),
        "quirks": (
            "max_completion_tokens",
            "fixed_sampling",
            "one_choice",
            "safe_function_names",
            "flat_text",
            "text_beside_tool_calls",
            "reasoning_sent_back",
            "effort_of_k3",
        ),
        **_STREAMED,
    },
    "openai": {
        "wire": "openai",
        "base_url": "https://api.openai.com/v1",
        "key_env": "OPENAI_API_KEY",
        "quirks": ("safe_function_names", "reasoning_stripped", "json_word"),
        **_STREAMED,
    },
    "gemini": {
        "wire": "gemini",
        "base_url": "https://generativelanguage.googleapis.com/v1beta",
        "key_env": "GEMINI_API_KEY",
        "quirks": ("safe_function_names",),
        **_STREAMED,
    },
    "deepseek": {
        "wire": "openai",
        "base_url": "https://api.deepseek.com",
        "key_env": "DEEPSEEK_API_KEY",
        "quirks": (
            "max_tokens",
            "safe_function_names",
            "text_beside_tool_calls",
            "english_system_prompt",
            "json_word",
            "reasoning_sent_back",
            "think_as_type",
        ),
        **_STREAMED,
    },
    "moonshot": {
        "wire": "openai",
        "base_url": "https://api.moonshot.ai/v1",
        "key_env": "MOONSHOT_API_KEY",
        "quirks": (
            "max_completion_tokens",
            "safe_function_names",
            "flat_text",
            "text_beside_tool_calls",
            "reasoning_sent_back",
        ),
        **_STREAMED,
    },
    "xai": {
        "wire": "openai",
        "base_url": "https://api.x.ai/v1",
        "key_env": "XAI_API_KEY GROK_API_KEY",
        "quirks": (
            "max_completion_tokens",
            "safe_function_names",
            "reasoning_beside_output",
            "think_as_effort",
        ),
        **_STREAMED,
    },
    "xiaomi": {
        "wire": "openai",
        "base_url": "https://api.xiaomimimo.com/v1",
        "key_env": "XIAOMI_API_KEY",
        "quirks": (
            "max_completion_tokens",
            "no_seed",
            "no_penalties",
            "safe_function_names",
            "auto_tool_choice",
            "text_beside_tool_calls",
            "reasoning_sent_back",
            "think_as_type_only",
        ),
    },
    "anthropic": {
        "wire": "anthropic",
        "base_url": "https://api.anthropic.com/v1",
        "key_env": "ANTHROPIC_API_KEY",
        "quirks": ("safe_function_names",),
        **_STREAMED,
    },
}
"""Their order is the order of listings.

Streamed are those whose models think long and whose streams carry the usage (docs/provider-wire.md §15). Not
streamed: Ollama, whose first byte may be minutes away and whose cloud was seen to end streams without their
last line; gateways, which pass on what many vendors' streams do; MiMo, whose streams may lack the usage.
"""

BUILTIN_LIMITS: dict[str, dict[str, Any]] = {
    "ollama_cloud": {
        "concurrency": 3
    },  # §2: Free 1, Pro 3, Max 10; more wait in its queue for minutes, unseen
    "kimi": {"concurrency": 30},  # §5
}
"""What an account is allowed where nothing is stated for it and the built-in address is called."""
