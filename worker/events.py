"""Telemetry: one event per attempt and one per outcome. Never a prompt, an answer or a key.

Units are in the names; `null` means the provider did not say (an unknown cost is never 0).
"""

from __future__ import annotations

import orjson

from shared.chat import NO_USAGE, Usage
from shared.errors import ChatqError, UpstreamError
from shared.store.grants import Grant
from worker.upstream import Answer
from worker.work import Work


def attempt_event(
    grant: Grant,
    work: Work,
    *,
    duration_s: float,
    answer: Answer | None = None,
    error: ChatqError | None = None,
) -> bytes:
    """What one call did: where it went, how long it took, what it cost, why it failed."""
    upstream = error if isinstance(error, UpstreamError) else None
    usage = answer.usage if answer else NO_USAGE
    return orjson.dumps(
        {
            "type": "attempt",
            "job": grant.job_id,
            "queue": grant.queue,
            "client": work.client,
            "source": work.source,
            "provider": work.candidate.provider,
            "model": work.candidate.model,
            "attempt": grant.attempts,
            "at": round(grant.claimed_at, 3),
            "duration_s": round(duration_s, 6),
            "ttfb_s": round(answer.ttfb_s, 6) if answer else None,
            "error": error.code if error else None,
            "status": upstream.status if upstream else None if error else 200,
            "maybe_billed": upstream.maybe_billed if upstream else error is None,
            **usage,
        }
    )


def outcome_event(grant: Grant, work: Work | None, state: str, error_code: str | None, usage: Usage) -> bytes:
    """How a job ended. The queue wait is that of the last claim."""
    waited_s = round(grant.claimed_at - grant.enqueued_at, 6) if grant.enqueued_at else None
    return orjson.dumps(
        {
            "type": "outcome",
            "job": grant.job_id,
            "queue": grant.queue,
            "client": work.client if work else None,
            "source": work.source if work else None,
            "requested_model": work.requested_model if work else None,
            "provider": work.candidate.provider if work else None,
            "model": work.candidate.model if work else None,
            "state": state,
            "error": error_code,
            "attempts": grant.attempts,
            "queue_wait_s": waited_s,
            **usage,
        }
    )
