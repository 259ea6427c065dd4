"""Every error chatq raises, in one tree, ordered by who has to act.

ChatqError
├─ ConfigError                 the operator acts; raised at start only
├─ JobRejected                 the caller of the producer acts; no job was made
│  ├─ InvalidRequest           a field of the request is wrong
│  │  └─ RequestTooLarge       the body is over the size limit
│  ├─ ProviderNotFound         the model routes to a provider that is not registered
│  ├─ IdempotencyConflict      the idempotency key was used with another body
│  └─ LaneFull                  a bound on waiting work is reached: come back later
├─ JobNotFound                 no such job, or its result has expired
├─ BatchNotFound               no such batch of the HTTP API, or its time is over
├─ BatchConflict               what is asked of such a batch does not fit the state it is in
├─ JobFailed                   the job ended without an answer (raised by readers that want one)
├─ BatchRefused                the files of a `chatq run` do not fit the command; the caller acts
├─ WorkerLost                  the worker that a `chatq run` started keeps dying
├─ WaitTimeout                 the job was not finished in time; it goes on
├─ StoreError                  Redis; every script is safe to send again
│  ├─ StoreUnavailable         no connection, no answer
│  ├─ StoreFull                `maxmemory` reached: new work is refused
│  └─ StoreUnsuitable          the server cannot keep jobs safely (version, eviction policy)
├─ FilesUnavailable            the file store of uploads and results does not do what was asked
│  └─ BlobMissing              the content of a file is gone from it
├─ OutOfSockets                this machine has no socket left for a call; the worker holds fewer jobs meanwhile
└─ UpstreamError               one call to one upstream did not give an answer; `scope` says what to blame
   ├─ UpstreamUnavailable      connection, time-out, 5xx, malformed answer: worth another attempt here
   │  └─ FieldRefused          a field that this model cannot take: again without it
   ├─ RateLimited              too much at once: wait, the attempt is not spent
   ├─ QuotaExhausted           a plan's window or budget is used up: a long wait, or the next candidate
   ├─ CredentialRejected       key, money or plan: the operator acts; the next candidate
   ├─ CandidateUnfit           this candidate cannot do this job: the next candidate
   ├─ StreamBroken             a part of the answer was out already: the job ends
   └─ RequestRefused           the job itself is wrong: no candidate will do better
"""

from __future__ import annotations

from typing import Literal, TypedDict, Unpack

from shared.observed_limits import ObservedLimits
from shared.usage import Usage


class ChatqError(Exception):
    """Root of all chatq errors.

    Attributes:
        code: Stable snake_case word for programs; the text is for people.
        exit_code: What the command line exits with.
    """

    code = "error"
    exit_code = 1


class ConfigError(ChatqError):
    """Settings are broken; the message names the file, the key and what is allowed."""

    code = "config_error"
    exit_code = 3


class JobRejected(ChatqError):
    """The producer refused the request before any job was made."""

    code = "job_rejected"
    exit_code = 2


class InvalidRequest(JobRejected):
    """A field of the chat request is wrong.

    Attributes:
        field: Path of the offending field (`messages.0.role`), or None for the body as a whole.
    """

    code = "invalid_request"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class RequestTooLarge(InvalidRequest):
    """The request body is over the size limit (4 MiB)."""

    code = "request_too_large"


class ProviderNotFound(JobRejected):
    """The model routes to a provider that is not registered (no key, switched off, or no default).

    Attributes:
        provider: The provider's name.
    """

    code = "provider_not_found"
    exit_code = 4

    def __init__(self, message: str, *, provider: str) -> None:
        super().__init__(message)
        self.provider = provider


class IdempotencyConflict(JobRejected):
    """The idempotency key is taken by a job with another body.

    Attributes:
        job_id: The job that holds the key.
    """

    code = "idempotency_conflict"

    def __init__(self, message: str, *, job_id: str) -> None:
        super().__init__(message)
        self.job_id = job_id


class LaneFull(JobRejected):
    """The lane's bound on waiting jobs, their bytes or their age is reached ([admission]).

    Attributes:
        queue: The queue that takes no more.
        retry_after_s: When it is worth trying again, by the rate it drains at; None = unknown.
    """

    code = "lane_full"
    exit_code = 7

    def __init__(self, message: str, *, queue: str, retry_after_s: float | None) -> None:
        super().__init__(message)
        self.queue = queue
        self.retry_after_s = retry_after_s


class JobNotFound(ChatqError):
    """No job with this id: never accepted, or its result lived out its TTL."""

    code = "job_not_found"
    exit_code = 4


class JobFailed(ChatqError):
    """The job ended failed, cancelled or expired; the message is the job's own error."""

    code = "job_failed"
    exit_code = 1


class BatchNotFound(ChatqError):
    """No such batch of the HTTP API, or its time is over."""

    code = "batch_not_found"
    exit_code = 4


class BatchConflict(ChatqError):
    """What is asked of a batch of the HTTP API does not fit the state it is in; asking again changes nothing."""

    code = "batch_conflict"
    exit_code = 2


class BatchRefused(ChatqError):
    """A batch cannot start or go on with these files; the message says what to do."""

    code = "batch_refused"
    exit_code = 2


class WorkerLost(ChatqError):
    """The run's own worker keeps dying; the message has its last words."""

    code = "worker_lost"


class WaitTimeout(ChatqError):
    """The wait ended before the job did; the job goes on."""

    code = "wait_timeout"
    exit_code = 6


class StoreError(ChatqError):
    """Redis did not do what was asked."""

    code = "store_error"
    exit_code = 5


class StoreUnavailable(StoreError):
    """Redis could not be reached or gave no answer in time."""

    code = "store_unavailable"


class StoreFull(StoreError):
    """Redis reached `maxmemory`; new work is refused until it drains."""

    code = "store_full"


class StoreUnsuitable(StoreError):
    """The server would lose jobs: too old, or an eviction policy that deletes them."""

    code = "store_unsuitable"
    exit_code = 3


class FilesUnavailable(ChatqError):
    """The file store, where uploads and the results of batches are, did not do what was asked."""

    code = "files_unavailable"


class BlobMissing(FilesUnavailable):
    """The file store does not have the content of a file."""

    code = "blob_missing"


class OutOfSockets(ChatqError):
    """No file descriptor, local port or buffer is left here for a call: nothing was sent.

    It says nothing about the upstream, and is no attempt. The message names what ran out and what to do.
    """

    code = "out_of_sockets"


Scope = Literal["job", "model", "account", "provider"]
"""What an upstream's error speaks of, and what is to be closed or blamed: this job alone, the model at this
account, everything that goes through this account (its key), or the whole server."""

Dimension = Literal["requests", "tokens", "concurrency"]
"""What a rate limit counts."""

OWN_WAIT_S = (1.0, 60.0)
"""First and longest wait of our own where a provider's row in docs/provider-wire.md §17 names none, in seconds."""


class UpstreamFacts(TypedDict, total=False):
    """The facts that every `UpstreamError` takes by keyword."""

    code: str | None
    status: int | None
    retry_after_s: float | None
    wait_range_s: tuple[float, float]
    scope: Scope | None
    maybe_billed: bool


class UpstreamError(ChatqError):
    """One call to one upstream failed.

    Attributes:
        status: HTTP status, or None when no answer came.
        retry_after_s: Seconds until the upstream can be asked again, as it stated them, or for a used-up
            quota until its window ends by the provider's rules; None if neither is known.
        wait_range_s: First and longest wait of our own, in seconds, when `retry_after_s` is None.
        scope: What the error speaks of.
        maybe_billed: The request was sent, so the provider may charge for it.
        usage: What the provider counted and says so, beside an answer that is none or before it broke off; else
            None.
    """

    code = "upstream_error"
    scope: Scope = "job"
    usage: Usage | None = None

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status: int | None = None,
        retry_after_s: float | None = None,
        wait_range_s: tuple[float, float] = OWN_WAIT_S,
        scope: Scope | None = None,
        maybe_billed: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code or type(self).code
        self.status = status
        self.retry_after_s = retry_after_s
        self.wait_range_s = wait_range_s
        self.scope = scope or type(self).scope
        self.maybe_billed = maybe_billed


class UpstreamUnavailable(UpstreamError):
    """Connection, time-out, 408/409/5xx or a malformed answer: another attempt may succeed.

    It counts as an attempt, and against the health of its scope.

    Codes: `connect_failed`, `connect_timeout`, `read_timeout`, `total_timeout`, `stalled`, `connection_lost`,
    `truncated`, `malformed`, `empty_body`, `no_choices`, `error_in_answer`, `interrupted`, `repetition`,
    `server_error`, `overloaded`, `crashed`, `proxy_error`, `aborted`, `retry_asked`.
    """

    code = "upstream_unavailable"
    scope: Scope = "model"


class FieldRefused(UpstreamUnavailable):
    """The model takes no such field at all; without it the same request goes through.

    Attributes:
        fields: Paths of the fields to leave out, as the wire spells them (`generationConfig.thinkingConfig`).
    """

    code = "field_refused"
    scope: Scope = "job"

    def __init__(self, message: str, *, fields: frozenset[str], **facts: Unpack[UpstreamFacts]) -> None:
        super().__init__(message, **facts)
        self.fields = fields


class RateLimited(UpstreamError):
    """The upstream asks to wait. Waiting is not a failed attempt; the scope is closed meanwhile.

    Attributes:
        dimension: What ran out, or None if the answer does not say.
        limit: The limit that the answer names for it: requests or tokens per minute, calls at the same time.
        observed: The limits in the answer's headers.
    """

    code = "rate_limited"
    scope: Scope = "model"

    def __init__(
        self,
        message: str,
        *,
        dimension: Dimension | None = None,
        limit: int | None = None,
        observed: ObservedLimits | None = None,
        **facts: Unpack[UpstreamFacts],
    ) -> None:
        super().__init__(message, **facts)
        self.dimension: Dimension | None = dimension
        self.limit = limit
        self.observed = observed


class QuotaExhausted(UpstreamError):
    """The allowance of a plan, a day or a budget is used up: a long wait, or the next candidate.

    `retry_after_s` is the end of the window if that is stated or follows from the provider's rules.
    """

    code = "quota_exhausted"
    scope: Scope = "account"


class CredentialRejected(UpstreamError):
    """Key, plan or balance: every job of the scope fails until the operator acts. The next candidate.

    Codes: `credential_rejected`, `out_of_credit`, `not_in_plan`.
    """

    code = "credential_rejected"
    scope: Scope = "account"


class CandidateUnfit(UpstreamError):
    """This candidate cannot do this job; another may. The job fails if there is none.

    With scope `model` or `provider` no other job can be done there either, until the operator acts.

    Codes: `candidate_unfit`, `model_not_found`, `context_too_long`, `content_refused`, `unsupported_feature`,
    `unsupported_content`, `unsupported`, `history_refused`, `wrong_address`, `redirected`, `session_refused`,
    `retry_refused`.
    """

    code = "candidate_unfit"


class RequestRefused(UpstreamError):
    """The job itself is wrong: no other candidate will do better.

    Codes: `request_refused`, `answer_too_large`, `unsupported_content`, `empty_prompt`.
    """

    code = "request_refused"


class StreamBroken(UpstreamError):
    """A call failed after a part of its answer had been streamed: another answer would not go on where it stopped.

    The job ends with code `stream_broken`, whatever the call itself failed of; the message says that.
    """

    code = "stream_broken"
