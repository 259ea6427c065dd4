"""How Claude models, and others on their wire, are told how much to think.

Facts: docs/provider-wire.md §13 and §16; Anthropic's pages "Extended thinking", "Adaptive thinking", "Effort"
and the migration guides of Claude 5 and 5.5.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

_VERSION = re.compile(r"(?<!\d)(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")
"""`claude-opus-4-7`, `claude-3-7-sonnet-20250219`: the date has more digits."""

_FAMILY = re.compile("opus|sonnet|haiku|fable|mythos")

_ALWAYS = ("fable", "mythos")
"""Families that cannot stop thinking; nor can Opus from 5.5 on."""

_TOKENS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16_384, "xhigh": 16_384, "max": 16_384}
"""The budget of each word, in tokens, where there is no effort: chatq's own numbers, from the least budget that is
taken up to one that leaves room for an answer under the output limit of every such model (32,000)."""

MIN_BUDGET = 1024
"""The smallest thinking budget, in tokens; it has to be below `max_tokens`."""


class Claude(NamedTuple):
    """A Claude model by its name.

    Attributes:
        family: `opus`, `sonnet` …, or "".
        version: (major, minor); new and unnumbered names count as the newest.
    """

    family: str
    version: tuple[int, int]

    @property
    def has_thinking(self) -> bool:
        """Whether it can think at all."""
        return self.version >= (3, 7)

    @property
    def is_adaptive(self) -> bool:
        """Whether it is told an effort; those before take a budget of tokens."""
        return self.version >= (4, 6)

    @property
    def completes_answers(self) -> bool:
        """Whether it goes on with an answer that the last message began; from 5 on that is a 400."""
        return self.version < (5, 0)

    @property
    def is_forceable(self) -> bool:
        """Whether it can be made to call a tool; where thinking cannot be off, and from 5.5 on, that is a 400."""
        return self.version < (5, 5) and self.family not in _ALWAYS


class Thinking(NamedTuple):
    """What a request says about thinking: its `thinking` object and its `output_config.effort`, None = nothing."""

    config: dict[str, Any] | None = None
    effort: str | None = None


def claude(model: str) -> Claude | None:
    """The Claude model of that name, or None for another vendor's model."""
    name = model.rpartition("/")[2].lower()
    if "claude" not in name:
        return None
    family, version = _FAMILY.search(name), _VERSION.search(name)
    return Claude(
        family[0] if family else "",
        (int(version[1]), int(version[2] or 0)) if version else (99, 0),
    )


def thinking_for(model: str, asked: bool | str | None) -> Thinking:
    """How to ask this model for that much thinking.

    A model that cannot think is not told to, and one that cannot stop is told to make the least effort.

    Args:
        model: The model's name at the provider.
        asked: See `asked_thinking`.
    """
    if asked is None:
        return Thinking()
    known = claude(model)
    if known is not None and not known.has_thinking:
        return Thinking()
    if asked is False:
        return _off(known)
    if known is None or not known.is_adaptive:
        tokens = _TOKENS["medium" if asked is True else asked]
        return Thinking({"type": "enabled", "budget_tokens": tokens})
    effort = None if asked is True else "low" if asked == "minimal" else asked
    # Newer models leave the text of their thoughts out unless it is asked for.
    return Thinking({"type": "adaptive", "display": "summarized"}, effort)


def _off(known: Claude | None) -> Thinking:
    if known is None:
        return Thinking({"type": "disabled"})
    if known.version < (5, 0) and known.family not in _ALWAYS:
        return Thinking()  # off unless asked for
    if known.family in _ALWAYS or (known.family == "opus" and known.version >= (5, 5)):
        return Thinking(effort="low")
    if known.family == "sonnet" and known.version >= (5, 5):
        return Thinking({"type": "between_tools"})
    return Thinking({"type": "disabled"})
