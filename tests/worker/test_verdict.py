"""The verdict on a failed attempt, case by case."""

from __future__ import annotations

import random

import pytest

from shared.errors import ChatqError, CredentialRejected, RateLimited, RequestRefused, UpstreamUnavailable
from worker.verdict import JITTER, End, RetryPolicy, TryAgain, judge

POLICY = RetryPolicy(max_attempts=3, backoff_base_s=0.5, backoff_max_s=30.0, max_rate_limit_waits=5)


def verdict(
    error: ChatqError,
    *,
    attempts: int = 1,
    max_attempts: int = 3,
    waits: int = 0,
    remaining_s: float | None = None,
) -> TryAgain | End:
    return judge(
        error,
        POLICY,
        attempts=attempts,
        max_attempts=max_attempts,
        rate_limit_waits=waits,
        remaining_s=remaining_s,
        rng=random.Random(1),
    )


@pytest.mark.parametrize("attempts", [1, 2])
def test_transient_failure_is_tried_again(attempts: int) -> None:
    """With attempts left the job backs off, within the curve."""
    again = verdict(UpstreamUnavailable("reset", code="connection_lost"), attempts=attempts)
    assert isinstance(again, TryAgain)
    assert again.reason == "backoff"
    assert 0 <= again.delay_s <= 0.5 * 2 ** (attempts - 1)


def test_last_attempt_fails_the_job() -> None:
    """The attempt that used up the limit ends it."""
    assert verdict(UpstreamUnavailable("reset"), attempts=3) == End("failed")


def test_job_without_limit_takes_the_policys() -> None:
    """A job enqueued with plain RQ has no limit of its own."""
    assert verdict(UpstreamUnavailable("reset"), attempts=3, max_attempts=0) == End("failed")


def test_stated_wait_of_a_failure_is_respected() -> None:
    """A 503 that names a time is not asked before it."""
    again = verdict(UpstreamUnavailable("busy", status=503, retry_after_s=9.0))
    assert again == TryAgain("backoff", 9.0)


@pytest.mark.parametrize("error", [CredentialRejected("401", status=401), RequestRefused("400", status=400)])
def test_hopeless_error_fails_at_once(error: ChatqError) -> None:
    """No attempt is spent on what cannot succeed."""
    assert verdict(error) == End("failed")


def test_rate_limit_waits_the_whole_stated_time() -> None:
    """Jitter only makes the wait longer."""
    again = verdict(RateLimited("429", status=429, retry_after_s=20.0), attempts=3)
    assert isinstance(again, TryAgain)
    assert again.reason == "rate_limited"
    assert 20.0 <= again.delay_s <= 20.0 * (1 + JITTER)


def test_unstated_wait_doubles_with_each() -> None:
    """Without a stated time the job comes back later each time, up to a minute."""
    waits = [verdict(RateLimited("429"), waits=n) for n in range(5)]
    floors = [1.0, 2.0, 4.0, 8.0, 16.0]
    for again, floor in zip(waits, floors, strict=True):
        assert isinstance(again, TryAgain)
        assert floor <= again.delay_s <= floor * (1 + JITTER)


def test_endless_rate_limit_fails_in_the_end() -> None:
    """The cap on waits is its own, apart from the attempts."""
    assert verdict(RateLimited("429", retry_after_s=1.0), waits=5) == End("failed")


def test_wait_beyond_the_deadline_expires_the_job() -> None:
    """Nothing waits for a moment at which it may not start."""
    assert verdict(RateLimited("429", retry_after_s=20.0), remaining_s=10.0) == End("expired")
    assert verdict(UpstreamUnavailable("503", retry_after_s=5.0), remaining_s=4.0) == End("expired")


def test_failure_before_the_deadline_stays_a_failure() -> None:
    """A hopeless error is told as such, with time left or without a deadline."""
    assert verdict(RequestRefused("400"), remaining_s=10.0) == End("failed")
