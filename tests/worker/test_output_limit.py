"""A request's output limit is one that its model takes."""

from __future__ import annotations

from typing import Any

import pytest

from shared.catalogue import ModelFacts
from shared.chat import ChatRequest, parse_request
from worker.output_limit import limited

FACTS = ModelFacts("deepseek", "deepseek-v4-pro", context_tokens=1_000_000, output_limit_tokens=384_000)
CLAUDE = ModelFacts(
    "anthropic", "claude", context_tokens=200_000, output_limit_tokens=64_000, needs_output_limit=True
)


def request(**fields: Any) -> ChatRequest:
    return parse_request({"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields})


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_limit_over_the_models_own_is_lowered(field: str) -> None:
    """Under the name the caller used, and the job hears of it; the caller's request stays as it was."""
    asked = request(**{field: 1_048_576})
    sent, note = limited(asked, FACTS)
    assert sent.body() == {**asked.body(), field: 384_000}
    assert note == f"{field}: 384,000 instead of 1,048,576, which is more than the model writes"
    assert getattr(asked, field) == 1_048_576


def test_both_names_are_lowered() -> None:
    sent, _ = limited(request(max_tokens=500_000, max_completion_tokens=600_000), FACTS)
    assert (sent.max_tokens, sent.max_completion_tokens) == (384_000, 384_000)


@pytest.mark.parametrize(
    ("fields", "facts"),
    [
        ({"max_tokens": 384_000}, FACTS),
        ({"max_tokens": 10}, FACTS),
        ({}, FACTS),
        ({"max_tokens": 10**9}, None),
        ({"max_tokens": 10**9}, ModelFacts("p", "m")),
        ({}, ModelFacts("p", "m", needs_output_limit=True)),
        ({"max_tokens": 5}, CLAUDE),
    ],
)
def test_request_is_left_alone(fields: dict[str, Any], facts: ModelFacts | None) -> None:
    """A limit that the model takes, none where none is needed, and a model of which nothing is known."""
    asked = request(**fields)
    assert limited(asked, facts) == (asked, None)


def test_limit_is_given_where_the_api_needs_one() -> None:
    """All that the model writes."""
    sent, note = limited(request(), CLAUDE)
    assert sent.body()["max_tokens"] == 64_000
    assert note == "max_tokens: 64,000, as none was given"


def test_given_limit_leaves_room_for_the_prompt() -> None:
    """Where the answer alone could fill the context."""
    facts = ModelFacts("p", "m", context_tokens=100_000, output_limit_tokens=100_000, needs_output_limit=True)
    assert limited(request(), facts)[0].max_tokens == 50_000
