"""The verdict on a failed attempt, case by case."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from shared.errors import (
    CandidateUnfit,
    ChatqError,
    CredentialRejected,
    FieldRefused,
    QuotaExhausted,
    RateLimited,
    RequestRefused,
    UpstreamUnavailable,
)
from shared.store.call_result import Blame
from worker.verdict import JITTER, End, GiveBack, History, RetryPolicy, blame, judge

POLICY = RetryPolicy(max_attempts=3, backoff_base_s=0.5, backoff_max_s=30.0, max_rate_limit_waits=5)


def verdict(error: ChatqError, history: History | None = None) -> GiveBack | End:
    return judge(error, POLICY, history or History(attempts=1, max_attempts=3), random.Random(1))


@pytest.mark.parametrize("attempts", [1, 2])
def test_transient_failure_is_tried_again(attempts: int) -> None:
    """With attempts left the job backs off, within the curve."""
    again = verdict(UpstreamUnavailable("reset", code="connection_lost"), History(attempts, 3))
    assert isinstance(again, GiveBack)
    assert again.reason == "backoff"
    assert 0 <= again.delay_s <= 0.5 * 2 ** (attempts - 1)


def test_last_attempt_fails_the_job() -> None:
    """The attempt that used up the limit ends it, also with candidates left: one budget for all."""
    assert verdict(UpstreamUnavailable("reset"), History(attempts=3, others=1)) == End("failed")


def test_job_without_limit_takes_the_policys() -> None:
    """A job enqueued with plain RQ has no limit of its own."""
    assert verdict(UpstreamUnavailable("reset"), History(attempts=3, max_attempts=0)) == End("failed")


def test_stated_wait_of_a_failure_is_respected() -> None:
    """A 503 that names a time is not asked before it."""
    assert verdict(UpstreamUnavailable("busy", status=503, retry_after_s=9.0)) == GiveBack("backoff", 9.0)


@pytest.mark.parametrize(
    ("history", "reason"),
    [
        (History(attempts=1, tries_here=1, others=1), "backoff"),
        (History(attempts=2, tries_here=2, others=1), "elsewhere"),
        (History(attempts=2, tries_here=2, others=0), "backoff"),
        (History(attempts=1, max_attempts=2, tries_here=1, others=1), "elsewhere"),
        (History(attempts=1, max_attempts=3, tries_here=1, others=2), "elsewhere"),
    ],
)
def test_next_candidate_is_tried_while_there_are_attempts_for_it(history: History, reason: str) -> None:
    """Twice here, then elsewhere; sooner when the attempts would not suffice for all candidates."""
    again = verdict(UpstreamUnavailable("reset"), history)
    assert isinstance(again, GiveBack)
    assert again.reason == reason


@pytest.mark.parametrize("error", [CredentialRejected("401", status=401), CandidateUnfit("404", status=404)])
def test_what_this_candidate_can_never_do_goes_on_or_fails(error: ChatqError) -> None:
    """Another candidate may do better; without one there is nothing to wait for."""
    assert verdict(error, History(attempts=1, others=1)) == GiveBack("next")
    assert verdict(error, History(attempts=1, others=0)) == End("failed")


def test_wrong_request_fails_at_once_everywhere() -> None:
    """No candidate does better with a request that is wrong."""
    assert verdict(RequestRefused("400", status=400), History(attempts=1, others=3)) == End("failed")


@pytest.mark.parametrize(
    "error", [RateLimited("429", retry_after_s=4.0), QuotaExhausted("q", retry_after_s=4.0)]
)
def test_limit_is_waited_out(error: ChatqError) -> None:
    """Whether that is too long, and whether to go on elsewhere, the store decides."""
    assert verdict(error, History(attempts=3, max_attempts=3)) == GiveBack("rate_limited", 4.0, True)


def test_limit_without_a_stated_wait_has_one_of_its_row() -> None:
    """The provider's table says how long to wait at first."""
    assert verdict(RateLimited("429", wait_range_s=(5.0, 60.0))) == GiveBack("rate_limited", 5.0, True)


def test_limits_hold_a_job_only_so_often() -> None:
    """No upstream may hold it for ever."""
    error = RateLimited("429", retry_after_s=1.0)
    assert verdict(error, History(attempts=1, rate_limit_waits=5)) == End("failed")
    assert verdict(error, History(attempts=1, rate_limit_waits=5, others=1)) == GiveBack("next")


def test_backoff_beyond_the_deadline_expires_the_job() -> None:
    """What could only be sent too late is not sent."""
    error = UpstreamUnavailable("busy", retry_after_s=9.0)
    assert verdict(error, History(attempts=1, remaining_s=5.0)) == End("expired")


def test_nothing_is_tried_after_the_deadline() -> None:
    """Neither here nor elsewhere."""
    for error in (RateLimited("429"), UpstreamUnavailable("reset"), CandidateUnfit("404")):
        assert verdict(error, History(attempts=1, others=2, remaining_s=0.0)) == End("expired")


def test_last_attempt_that_the_deadline_cuts_off_is_expired() -> None:
    """It did not fail; a refusal did, whenever it came."""
    last = History(attempts=1, max_attempts=1, remaining_s=-0.01)
    cut_off = UpstreamUnavailable("no complete answer", code="total_timeout", scope="job")
    assert verdict(cut_off, last) == End("expired")
    assert verdict(RequestRefused("400"), last) == End("failed")
    assert verdict(CandidateUnfit("404"), last) == End("failed")
    assert verdict(cut_off, replace(last, remaining_s=1.0)) == End("failed")


def test_stated_wait_is_jittered_upward_only() -> None:
    """A limit is never met too early, and not by all at the same millisecond."""
    for seed in range(50):
        found = blame(RateLimited("429", retry_after_s=10.0), random.Random(seed))
        assert found is not None
        assert found.wait_s is not None
        assert 10.0 <= found.wait_s <= 10.0 * (1 + JITTER)


def test_blame_says_whom_to_close() -> None:
    """Scope and kind come from the error; a limit that nobody is blamed for is the model's."""
    rng = random.Random(1)
    limited = RateLimited("429", scope="job", dimension="tokens", limit=9)
    assert blame(limited, rng) == Blame("model", "rate", None, (1.0, 60.0), "tokens", 9)
    assert blame(QuotaExhausted("q"), rng) == Blame("account", "quota")
    assert blame(CredentialRejected("401"), rng) == Blame("account", "credentials")
    assert blame(UpstreamUnavailable("down", scope="provider"), rng) == Blame("provider", "failure")


@pytest.mark.parametrize(
    "error",
    [
        CandidateUnfit("404", scope="model"),
        FieldRefused("think", fields=frozenset({"think"})),
        RequestRefused("400"),
        UpstreamUnavailable("too slow for this deadline", scope="job"),
        ChatqError("ours"),
    ],
)
def test_errors_of_one_job_blame_nobody(error: ChatqError) -> None:
    """They say nothing about other jobs, so nothing closes."""
    assert blame(error, random.Random(1)) is None
