"""The verdict on a failed attempt: try again, wait, go on elsewhere, or end the job. Pure: randomness comes in.

Rules (provider-wire §17 general rules; reliability §7):
- a transient failure is tried again here, then with the next candidate, until the attempts are spent;
- no socket for the call is no attempt: the job waits a moment, and another worker may have one;
- a limit or a used-up quota is a wait, not a failed attempt; it has a cap of its own;
- what this candidate can never do goes on with the next one, and fails if there is none;
- once the deadline has passed, what would have been tried again, or had no attempts left for it, has expired;
- a selector that fails is not asked again: its job goes where the heuristic would have sent it;
- everything else ends the job at once.

Only the store knows which candidates are open and when a limit lets go, so where a job really goes is decided in
the script that gives it back (`lua/release_jobs.lua`).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from shared.errors import (
    CandidateUnfit,
    ChatqError,
    CredentialRejected,
    FieldRefused,
    OutOfSockets,
    QuotaExhausted,
    RateLimited,
    UpstreamError,
    UpstreamUnavailable,
)
from shared.store.call_result import Blame
from worker.backoff import backoff_s

JITTER = 0.1
"""A stated wait is kept whole; up to this share is added, so that a limit is not met to the millisecond."""

NO_SOCKET_S = (0.5, 1.5)
"""Shortest and longest wait of a job whose call found no socket, in seconds."""

TRIES_HERE = 2
"""Calls to one candidate before the next one is preferred (provider-wire §17: "retry, then next")."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The settings that decide on retries."""

    max_attempts: int
    backoff_base_s: float
    backoff_max_s: float
    max_rate_limit_waits: int


@dataclass(frozen=True, slots=True)
class History:
    """What is behind a job when an attempt of it fails.

    Attributes:
        attempts: Calls that counted so far, the failed one included; those of workers that died are not among them.
        max_attempts: The job's own limit; 0 = the policy's.
        tries_here: Calls to the present candidate.
        others: Candidates it has not been to; 0 when it may not move any more.
        rate_limit_waits: How often it has waited for a limit.
        remaining_s: Seconds to the deadline, or None without one.
        is_rating: It was a selector's call, which counts as no attempt.
    """

    attempts: int
    max_attempts: int = 0
    tries_here: int = 1
    others: int = 0
    rate_limit_waits: int = 0
    remaining_s: float | None = None
    is_rating: bool = False


@dataclass(frozen=True, slots=True)
class GiveBack:
    """Give the job back (reasons: `shared/store/grants.py`).

    Attributes:
        delay_s: The backoff, or a limit's least wait.
        gives_attempt_back: It was no attempt.
    """

    reason: Literal["backoff", "rate_limited", "next", "unrated", "misrated", "elsewhere"]
    delay_s: float = 0.0
    gives_attempt_back: bool = False


UNRATED = GiveBack("unrated", gives_attempt_back=True)
"""The selector gave no rating: another one is asked, or the job goes where the rules of its group send it."""


MISRATED = GiveBack("misrated", gives_attempt_back=True)
"""The rating leads nowhere: the job goes where the rules of its group send it."""


@dataclass(frozen=True, slots=True)
class End:
    """End the job."""

    kind: Literal["failed", "expired"]


def judge(error: ChatqError, policy: RetryPolicy, history: History, rng: random.Random) -> GiveBack | End:
    """Decide what follows a failed attempt."""
    verdict = _judge(error, policy, history, rng)
    is_over = history.remaining_s is not None and history.remaining_s <= 0
    if is_over and (isinstance(verdict, GiveBack) or isinstance(error, UpstreamUnavailable)):
        return End("expired")  # also when it was the last attempt: it may be the deadline that cut it off
    if isinstance(verdict, GiveBack) and verdict.reason == "backoff" and _is_late(verdict, history):
        return End("expired")
    return verdict


def _is_late(verdict: GiveBack, history: History) -> bool:
    return history.remaining_s is not None and history.remaining_s <= verdict.delay_s


def _judge(error: ChatqError, policy: RetryPolicy, history: History, rng: random.Random) -> GiveBack | End:
    match error:
        case OutOfSockets():
            delay_s = rng.uniform(*NO_SOCKET_S)
            if history.remaining_s is not None:  # another worker may still do it in time
                delay_s = min(delay_s, history.remaining_s / 2)
            return GiveBack("backoff", delay_s, gives_attempt_back=True)
        case RateLimited() | QuotaExhausted():
            if history.rate_limit_waits < policy.max_rate_limit_waits:
                wait_s = error.retry_after_s
                wait_s = error.wait_range_s[0] if wait_s is None else wait_s
                return GiveBack("rate_limited", wait_s, gives_attempt_back=True)
            return UNRATED if history.is_rating else _next(history)
        case _ if history.is_rating:
            return UNRATED
        case CredentialRejected() | CandidateUnfit():
            return _next(history)
        case UpstreamUnavailable():
            return _again(error, policy, history, rng)
        case _:
            return End("failed")


def _next(history: History) -> GiveBack | End:
    return GiveBack("next") if history.others else End("failed")


def _again(
    error: UpstreamUnavailable, policy: RetryPolicy, history: History, rng: random.Random
) -> GiveBack | End:
    left = (history.max_attempts or policy.max_attempts) - history.attempts
    if left <= 0:
        return End("failed")
    delay_s = backoff_s(history.attempts, base_s=policy.backoff_base_s, max_s=policy.backoff_max_s, rng=rng)
    delay_s = max(delay_s, error.retry_after_s or 0.0)
    # Each candidate is to get a call: with few attempts left, none is spent on trying again here.
    is_enough = history.tries_here >= TRIES_HERE or left <= history.others
    return GiveBack("elsewhere" if history.others and is_enough else "backoff", delay_s)


def blame(error: ChatqError, rng: random.Random) -> Blame | None:
    """What the fleet should know of a failure; None if it says nothing about others."""
    if not isinstance(error, UpstreamError) or isinstance(error, (CandidateUnfit, FieldRefused)):
        return None
    wait_s = error.retry_after_s
    if wait_s is not None:
        wait_s *= 1 + rng.uniform(0, JITTER)
    match error:
        case RateLimited():
            scope = "model" if error.scope == "job" else error.scope
            return Blame(scope, "rate", wait_s, error.wait_range_s, error.dimension, error.limit)
        case QuotaExhausted():
            return Blame(error.scope, "quota", wait_s, error.wait_range_s)
        case CredentialRejected():
            return Blame(error.scope, "credentials", wait_s)
        case UpstreamUnavailable() if error.scope != "job":
            return Blame(error.scope, "failure")
        case _:
            return None
