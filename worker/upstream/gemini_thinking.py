"""How Gemini models are told how much to think: a budget up to 2.5, a level from 3 on, never both.

Facts: docs/provider-wire.md §8 and §16; Google's pages "Gemini thinking" (budgets and levels by model) and
"OpenAI compatibility" (tokens for each `reasoning_effort`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

AUTOMATIC = -1
"""The budget that leaves it to the model."""


class Budget(NamedTuple):
    """The thinking budget of a model, in tokens.

    Attributes:
        off: What comes nearest to no thinking.
        least: Smallest budget that is not off.
        most: Largest budget.
    """

    off: int
    least: int
    most: int


_BUDGETS: tuple[tuple[str, Budget | None], ...] = (
    ("gemini-2.5-flash-image", None),
    ("gemini-2.5-flash-lite", Budget(0, 512, 24_576)),
    ("gemini-2.5-flash", Budget(0, 1, 24_576)),
    ("gemini-2.5-pro", Budget(128, 128, 32_768)),
    ("gemini-2.0", None),
    ("gemini-1.", None),
    ("gemma", None),
)
"""By the beginning of the model's name; None: it cannot think. All others take a level."""

_TOKENS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576, "xhigh": 32_768, "max": 32_768}
"""The budget of each word; the first four are Google's own for `reasoning_effort`."""

_HIGHEST = "HIGH"
"""XHIGH exists, but most models refuse it."""

_MINIMAL = ("gemini-3-flash", "gemini-3.1-flash", "gemini-3.5-flash", "gemini-3.6-flash")
"""The models that know the level MINIMAL; Pro, and Flash from 3.7 on, begin at LOW."""


def thinking_config(model: str, asked: bool | str | None) -> dict[str, Any] | None:
    """`generationConfig.thinkingConfig`, or None to leave the model's default.

    Thoughts are asked for whenever thinking is. A model that cannot think is not told to, and one that cannot
    stop thinking is told to think as little as it can.

    Args:
        model: The model's name at the provider.
        asked: See `asked_thinking`.
    """
    if asked is None:
        return None
    name = _name(model)
    for beginning, budget in _BUDGETS:
        if name.startswith(beginning):
            return None if budget is None else _by_budget(budget, asked)
    return _by_level(name, asked)


def knows_levels(model: str) -> bool:
    """Whether it is a model from 3 on: their function calls go back with a signature, else it is a 400."""
    return not _name(model).startswith(("gemini-1.", "gemini-2.", "gemma"))


def _by_budget(budget: Budget, asked: bool | str) -> dict[str, Any]:
    if asked is False:
        return {"thinkingBudget": budget.off}
    if asked is True:
        return {"includeThoughts": True, "thinkingBudget": AUTOMATIC}
    return {
        "includeThoughts": True,
        "thinkingBudget": min(max(_TOKENS[asked], budget.least), budget.most),
    }


def _by_level(name: str, asked: bool | str) -> dict[str, Any]:
    least = "MINIMAL" if name.startswith(_MINIMAL) else "LOW"
    if asked is False:
        return {"thinkingLevel": least}
    if asked is True:
        return {"includeThoughts": True}
    levels = {"minimal": least, "low": "LOW", "medium": "MEDIUM"}
    return {"includeThoughts": True, "thinkingLevel": levels.get(asked, _HIGHEST)}


def _name(model: str) -> str:
    return model.rpartition("/")[2].lower()
