"""Quirks of the thinking switch: how `think` and `reasoning_effort` are said (docs/provider-wire.md §16).

What the caller says in the provider's own words (`thinking`, `reasoning`) is left alone, and where nothing is
said the model's default stands.
"""

from __future__ import annotations

from typing import Any

from shared.chat import ChatRequest
from worker.upstream.quirks.quirk import ChangeBody


def _wanted(request: ChatRequest) -> bool | None:
    """Whether the model is to think; None: the caller does not say."""
    if isinstance(request.think, bool):
        return request.think
    effort = request.reasoning_effort or request.think
    return None if effort is None else effort != "none"


def as_effort(body: dict[str, Any], request: ChatRequest) -> None:
    """Off is an effort; on is the default of those that can be told."""
    if request.think is False:
        body["reasoning_effort"] = "none"


def as_reasoning(body: dict[str, Any], request: ChatRequest) -> None:
    """OpenRouter's object; an effort has a field of its own there."""
    if request.think is False:
        body.pop("reasoning_effort", None)
        body.setdefault("reasoning", {"effort": "none"})
    elif request.think is True and "reasoning_effort" not in body:
        body.setdefault("reasoning", {"enabled": True})


def as_type(*, takes_effort: bool) -> ChangeBody:
    """`thinking.type`; beside `disabled` no effort may stand.

    Args:
        takes_effort: Whether an effort may stand beside `enabled`.
    """

    def say(body: dict[str, Any], request: ChatRequest) -> None:
        wanted = _wanted(request)
        if wanted is not None:
            body.setdefault("thinking", {"type": "enabled" if wanted else "disabled"})
        if wanted is False or not takes_effort:
            body.pop("reasoning_effort", None)

    return say


def as_template(body: dict[str, Any], request: ChatRequest) -> None:
    """The switch of chat templates, on servers that run open models."""
    wanted = _wanted(request)
    if wanted is not None:
        stated = body.get("chat_template_kwargs")
        inner = stated if isinstance(stated, dict) else {}
        body["chat_template_kwargs"] = {"enable_thinking": wanted, **inner}


_K3_LEVELS = {"minimal": "low", "medium": "high", "xhigh": "max"}
_K3_OFF = ("none", "off", "disabled")


def effort_of_k3(body: dict[str, Any], request: ChatRequest) -> None:
    """K3 always thinks, on one of three levels; to be told not to is a 400 (§5, §6)."""
    effort = body.get("reasoning_effort")
    if effort in _K3_OFF:
        del body["reasoning_effort"]
    elif effort in _K3_LEVELS:
        body["reasoning_effort"] = _K3_LEVELS[effort]
