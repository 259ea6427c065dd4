"""The verdict on a failed attempt: try again, wait, or end the job. Pure: time and randomness come in.

Rules (provider-wire §17 general rules; reliability §7):
- a transient failure is retried with backoff until the attempts are spent;
- a rate limit is a wait, not a failed attempt; it has a cap of its own;
- a wait that would end after the deadline is not waited: the job expires;
- everything else ends the job at once.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from shared.errors import ChatqError, RateLimited, UpstreamUnavailable
from worker.backoff import backoff_s

UNSTATED_WAIT_S = 1.0
"""First wait after a 429 that names none; doubles with each, up to `UNSTATED_WAIT_MAX_S`."""

UNSTATED_WAIT_MAX_S = 60.0

JITTER = 0.1
"""A stated wait is kept whole; up to this share is added, so that waiters do not return as one."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The settings that decide on retries."""

    max_attempts: int
    backoff_base_s: float
    backoff_max_s: float
    max_rate_limit_waits: int


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Give the job back for `delay_s`."""

    reason: Literal["backoff", "rate_limited"]
    delay_s: float


@dataclass(frozen=True, slots=True)
class End:
    """End the job."""

    kind: Literal["failed", "expired"]


def judge(
    error: ChatqError,
    policy: RetryPolicy,
    *,
    attempts: int,
    max_attempts: int,
    rate_limit_waits: int,
    remaining_s: float | None,
    rng: random.Random,
) -> TryAgain | End:
    """Decide what follows a failed attempt.

    Args:
        error: What went wrong.
        attempts: Calls counted so far, the failed one included.
        max_attempts: The job's own limit; 0 = the policy's.
        rate_limit_waits: How often the job has waited for a rate limit before.
        remaining_s: Seconds to the deadline, or None without one.
    """
    again = _another_try(error, policy, attempts, max_attempts or policy.max_attempts, rate_limit_waits, rng)
    if remaining_s is not None and remaining_s <= (again.delay_s if again else 0.0):
        return End("expired")
    return again or End("failed")


def _another_try(
    error: ChatqError,
    policy: RetryPolicy,
    attempts: int,
    max_attempts: int,
    rate_limit_waits: int,
    rng: random.Random,
) -> TryAgain | None:
    if isinstance(error, RateLimited) and rate_limit_waits < policy.max_rate_limit_waits:
        wait_s = error.retry_after_s
        if wait_s is None:
            wait_s = min(UNSTATED_WAIT_S * 2.0 ** min(rate_limit_waits, 10), UNSTATED_WAIT_MAX_S)
        return TryAgain("rate_limited", wait_s * (1 + rng.uniform(0, JITTER)))
    if isinstance(error, UpstreamUnavailable) and attempts < max_attempts:
        delay_s = backoff_s(attempts, base_s=policy.backoff_base_s, max_s=policy.backoff_max_s, rng=rng)
        return TryAgain("backoff", max(delay_s, error.retry_after_s or 0.0))
    return None
