"""The groups that are there without being configured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.settings.groups import GroupSettings

SEED_GROUPS: dict[str, dict[str, Any]] = {
    "fast-flow": {
        "strategy": "cheapest",
        "targets": ["deepseek/deepseek-v4-flash", "openai/gpt-5.4-nano"],
        "logic_level": 2,
        "primary_use": "classifying, extracting, JSON, short answers",
    },
    "standard-pro": {
        "strategy": "cheapest",
        "targets": ["openai/gpt-5.4-mini", "gemini/gemini-3-flash-preview"],
        "logic_level": 5,
        "primary_use": "explaining, writing, summaries, everyday code, long documents",
    },
    "heavy-logic": {
        "strategy": "cheapest",
        "targets": ["xai/grok-4.3", "moonshot/kimi-k2.6", "deepseek/deepseek-v4-pro"],
        "logic_level": 9,
        "primary_use": "deep reasoning, architecture, hard bugs, agents, research",
    },
    "dispatcher": {
        "strategy": "classifier",
        "targets": ["fast-flow", "standard-pro", "heavy-logic"],
        "logic_level": 10,
        "primary_use": "any task: a small model rates it, and it goes where it belongs",
        "selector": "openai/gpt-5.4-nano",
        "complexity_threshold": 10,
    },
    "deepseek-auto": {
        "targets": ["deepseek/deepseek-v4-flash", "deepseek/deepseek-v4-pro"],
        "primary_use": "DeepSeek: the small model, the large one for complex tasks",
    },
    "openai-auto": {
        "targets": ["openai/gpt-5.4-nano", "openai/gpt-5.4-mini", "openai/gpt-5.4"],
        "primary_use": "OpenAI: the smallest model, the largest for complex tasks",
    },
    "gemini-auto": {
        "targets": ["gemini/gemini-3-flash-preview", "gemini/gemini-3.1-pro-preview"],
        "primary_use": "Gemini: the fast model, the large one for complex tasks",
    },
    "auto:local": {
        "strategy": "failover",
        "targets": ["ollama/qwen3.5:latest", "ollama/qwen3:latest"],
        "logic_level": 2,
        "primary_use": "nothing leaves this machine",
    },
    "auto:fast": {
        "strategy": "failover",
        "targets": ["ollama/qwen3.5:latest", "fast-flow"],
        "logic_level": 3,
        "primary_use": "quick answers: on this machine, elsewhere when it is down",
    },
    "auto:smart": {
        "strategy": "failover",
        "targets": ["heavy-logic", "ollama_cloud/deepseek-v3.2", "standard-pro"],
        "logic_level": 9,
        "primary_use": "the strongest model that is up",
    },
}
"""Order is the order of listings. Three tiers by demand and the dispatcher over them; one for each of three makers;
and names for what is wanted, where the next one takes over when one is down."""


def seed_groups() -> dict[str, GroupSettings]:
    """The seed groups with nothing overridden."""
    return {name: GroupSettings.model_validate(spec) for name, spec in SEED_GROUPS.items()}


def over_the_seeds(configured: Mapping[str, Any]) -> dict[str, Any]:
    """Entries of a file, those with a seed's name laid over that seed key by key."""
    return {
        name: {**SEED_GROUPS.get(name, {}), **entry} if isinstance(entry, Mapping) else entry
        for name, entry in configured.items()
    }
