"""What is special about models of the built-in providers, by name or pattern, as data (docs/provider-wire.md).

A settings file overrides an entry of the same pattern, key by key.
"""

from __future__ import annotations

from typing import Any

_REASONING_OF_OPENAI = {"quirks": ("max_completion_tokens", "fixed_sampling")}
_NO_STOP_OF_OPENAI = {"quirks": ("max_completion_tokens", "fixed_sampling", "no_stop")}
_BY_SWITCH = {"quirks": ("fixed_sampling", "one_choice", "think_as_type_only")}
_BY_EFFORT = {"quirks": ("fixed_sampling", "one_choice", "effort_of_k3")}
_KIMI = {"quirks": ("fixed_sampling", "one_choice", "reasoning_sent_back")}
_DEEPSEEK = {"quirks": ("json_word", "reasoning_sent_back", "think_as_type")}

BUILTIN_MODELS: dict[str, dict[str, dict[str, Any]]] = {
    # §7: what reasoning models refuse; gpt-5.6 takes tools together with thinking on this wire alone.
    "openai": {
        "gpt-5*": _REASONING_OF_OPENAI,
        "gpt-5.?*": {"quirks": ("think_as_effort",)},
        "gpt-5.6*": {"wire": "responses"},
        "o1*": _REASONING_OF_OPENAI,
        "o3*": _NO_STOP_OF_OPENAI,
        "o4-mini*": _NO_STOP_OF_OPENAI,
    },
    # §4: a model answers on one wire only. Families move; where one has, the settings file says so.
    "opencode": {
        "claude-*": {"wire": "anthropic"},
        "qwen*": {"wire": "anthropic"},
        "gpt-*": {"wire": "responses", "quirks": ("fixed_sampling",)},
        "grok-*": {"wire": "responses"},
        "muse-spark-*": {"wire": "responses"},
        "gemini-*": {"wire": "gemini"},
        "kimi-*": _KIMI,
        "deepseek-*": _DEEPSEEK,
    },
    # §6: sampling is fixed on all kimi models; those of K2.5 and K2.6 can be told not to think.
    "moonshot": {
        "kimi-*": {"quirks": ("fixed_sampling", "one_choice")},
        "kimi-k2.5*": _BY_SWITCH,
        "kimi-k2.6*": _BY_SWITCH,
        "kimi-k3*": _BY_EFFORT,
        "k3*": _BY_EFFORT,
    },
    # §10
    "xai": {"grok-4*": {"quirks": ("no_stop", "no_penalties")}},
}
"""By provider, then by pattern."""
