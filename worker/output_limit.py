"""The output limit of a request: given where the API needs one, capped where the model cannot write that much."""

from __future__ import annotations

from shared.catalogue import ModelFacts
from shared.chat import ChatRequest

_FIELDS = ("max_tokens", "max_completion_tokens")


def limited(request: ChatRequest, facts: ModelFacts | None) -> tuple[ChatRequest, str | None]:
    """The request with an output limit that its model takes, and what was done about it.

    A limit over the model's own is lowered to it: most APIs refuse it otherwise. A request without one is given
    the model's own only where it has to have one (`needs_output_limit`). Elsewhere the model's own limit holds
    anyway, and stating it would cost: providers that count `max_tokens` against their token rate when a call
    arrives (OpenAI, Moonshot) would let far fewer calls through.

    Args:
        request: Is not changed.
        facts: On the model that is called; None: nothing is known.

    Returns:
        The request as it is to be sent, and a note for the job, or None if nothing was changed.
    """
    most = facts.output_limit_tokens if facts is not None else None
    if facts is None or most is None:
        return request, None
    asked = request.output_limit_tokens
    if asked is None:
        if not facts.needs_output_limit:
            return request, None
        # Some count prompt and limit together against the context: half of it is left to the prompt.
        given = most if facts.context_tokens is None else min(most, max(1, facts.context_tokens // 2))
        return request.model_copy(update={"max_tokens": given}), f"max_tokens: {given:,}, as none was given"
    over = [name for name in _FIELDS if (getattr(request, name) or 0) > most]
    if not over:
        return request, None
    stated = max(getattr(request, name) for name in over)
    return (
        request.model_copy(update=dict.fromkeys(over, most)),
        f"{over[-1]}: {most:,} instead of {stated:,}, which is more than the model writes",
    )
