"""What an error can mean, as data: the class, the scope it speaks of, and how long to wait."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shared.errors import (
    OWN_WAIT_S,
    CandidateUnfit,
    CredentialRejected,
    Dimension,
    FieldRefused,
    QuotaExhausted,
    RateLimited,
    RequestRefused,
    Scope,
    UpstreamError,
    UpstreamUnavailable,
)

Window = Callable[[float], float]
"""Unix seconds -> seconds until a quota's window ends."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a row of the table says.

    Attributes:
        kind: The error's class.
        code: The error's code.
        scope: What is to be closed or blamed.
        wait_range_s: First and longest wait of our own, in seconds, when none is stated.
        window: The end of the quota's window, when none is stated.
        dimension: What ran out, where the row knows it.
        fields: For FieldRefused: the fields that the model does not take, by their paths in the body.
    """

    kind: type[UpstreamError]
    code: str
    scope: Scope
    wait_range_s: tuple[float, float] = OWN_WAIT_S
    window: Window | None = None
    dimension: Dimension | None = None
    fields: frozenset[str] = frozenset()


def broken(
    scope: Scope = "model", *, own_s: tuple[float, float] = OWN_WAIT_S, code: str = "server_error"
) -> Meaning:
    """§17 "retry": worth another attempt here; it counts against the scope's health."""
    return Meaning(UpstreamUnavailable, code, scope, own_s)


def limited(
    scope: Scope = "model", *, own_s: tuple[float, float] = OWN_WAIT_S, dimension: Dimension | None = None
) -> Meaning:
    """§17 "cool" for seconds or minutes: the scope is closed, and the job waits without losing an attempt."""
    return Meaning(RateLimited, RateLimited.code, scope, own_s, dimension=dimension)


def quota(
    scope: Scope = "account", *, window: Window | None = None, own_s: tuple[float, float] = OWN_WAIT_S
) -> Meaning:
    """§17 "cool + next" for hours or days: the allowance of a window is used up."""
    return Meaning(QuotaExhausted, QuotaExhausted.code, scope, own_s, window)


def refused_field(*fields: str) -> Meaning:
    """§17 "our bug: drop field, retry"."""
    return Meaning(FieldRefused, FieldRefused.code, "job", fields=frozenset(fields))


# §17 "next, off (key)" and "(key+model)"
BAD_KEY = Meaning(CredentialRejected, "credential_rejected", "account")
NO_CREDIT = Meaning(CredentialRejected, "out_of_credit", "account")
NOT_IN_PLAN = Meaning(CredentialRejected, "not_in_plan", "model")
NOT_SIGNED_IN = Meaning(CredentialRejected, "credential_rejected", "model")

# §17 "next, off (model)", and "next, off" for a wrong base URL
NO_SUCH_MODEL = Meaning(CandidateUnfit, "model_not_found", "model")
REDIRECTED = Meaning(CandidateUnfit, "redirected", "provider")
SESSION_REFUSED = Meaning(CandidateUnfit, "session_refused", "provider")
WRONG_ADDRESS = Meaning(CandidateUnfit, "wrong_address", "provider")

# §17 "next", and "next / fail"
TOO_LONG = Meaning(CandidateUnfit, "context_too_long", "job")
CONTENT_REFUSED = Meaning(CandidateUnfit, "content_refused", "job")
NO_SUCH_FEATURE = Meaning(CandidateUnfit, "unsupported_feature", "job")
HISTORY_REFUSED = Meaning(CandidateUnfit, "history_refused", "job")
UNFIT = Meaning(CandidateUnfit, "candidate_unfit", "job")

# §17 "fail"
BAD_REQUEST = Meaning(RequestRefused, "request_refused", "job")

# §17 "retry once without": the fields that go, by what was refused
CANNOT_THINK = refused_field("think", "reasoning_effort")
EFFORT_REFUSED = refused_field("reasoning_effort", "reasoning.effort")
SAMPLING_IS_FIXED = refused_field(
    "temperature", "top_p", "top_k", "n", "frequency_penalty", "presence_penalty"
)
