"""Routing: what choosing a target costs, for a group's rules and for a plain name."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from benchmarks import edges
from producer.candidates import find_candidates
from shared.chat import ChatRequest, encode_request, parse_request
from shared.providers import ProviderRegistry
from shared.routing import NO_FACTS, GroupBook, Router, features_of
from shared.settings import GroupSettings, load_settings
from shared.way import find_way

RULES = {
    "targets": ["ollama/small", "ollama/medium", "ollama/large"],
    "rules": [
        {
            "rule_id": "quick",
            "conditions": {
                "any_of_tags": ["fast-flow"],
                "max_input_tokens_lt": 8000,
                "requires_reasoning": False,
            },
            "primary_model": "ollama/small",
        },
        {
            "rule_id": "documents",
            "conditions": {"any_of_tags": ["long-doc"], "has_multimodal_input": True},
            "primary_model": "ollama/medium",
        },
        {
            "rule_id": "rest",
            "conditions": {"is_default_fallback": True},
            "primary_model": "ollama/large",
            "fallback_model": "ollama/medium",
        },
    ],
}
"""Three rules of which the last one matches, so all are looked at."""

SENTENCE = "The committee met on Tuesday and heard what the harbour master had to say about the new pier. "


@dataclass(frozen=True, slots=True)
class Cost:
    """What routing costs.

    Attributes:
        group_us: A request of 1 kB through a group of rules, in microseconds: its features, rules and candidates.
        name_us: A plain name.
        share: A plain name's part of what `submit_many` takes for a job.
    """

    group_us: float
    name_us: float
    share: float


def routing_cost(*, jobs: int) -> Cost:
    """(i) Best of several rounds, in this process alone; the share from a run of `submit_many`."""
    settings = load_settings(env={"HOME": "/nonexistent"})
    registry = ProviderRegistry.from_settings(settings, env={})
    book = GroupBook(file={"rules": GroupSettings.model_validate(RULES)})
    router = Router(registry, settings.models, "ollama", groups=book)
    requests = [_request("rules", n) for n in range(1_000)]
    encoded = [(request, encode_request(request, max_bytes=1_000_000)) for request in requests]

    def by_group() -> None:
        for request, request_json in encoded:
            find_way(request, partial(features_of, request, request_json), router, NO_FACTS)

    def by_name() -> None:
        for _ in requests:
            router.group_of("ollama/small")
            find_candidates("ollama/small", (), router)

    group_us, name_us = (_best_us(work, len(requests)) for work in (by_group, by_name))
    return Cost(group_us, name_us, name_us * edges.submit_rate(jobs=jobs) / 1e6)


def _request(model: str, n: int) -> ChatRequest:
    text = f"Case {n}. {SENTENCE * 10}"[:1_000]
    return parse_request({"model": model, "messages": [{"role": "user", "content": text}]})


def _best_us(work: Callable[[], None], times: int, rounds: int = 7) -> float:
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best / times * 1e6
