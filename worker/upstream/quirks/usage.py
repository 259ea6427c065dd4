"""Quirks of usage (docs/provider-wire.md §14)."""

from __future__ import annotations

from shared.chat import ChatRequest
from worker.upstream.wire import Completion


def reasoning_beside_output(answer: Completion, request: ChatRequest) -> Completion:
    """`completion_tokens` leaves the reasoning out; chatq's output has it, because it is billed."""
    reasoning, output = answer.usage["reasoning"], answer.usage["output_total"]
    if not reasoning or output is None:
        return answer
    return answer._replace(usage={**answer.usage, "output_total": output + reasoning})
