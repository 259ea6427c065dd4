"""Every error chatq raises, in one tree, ordered by who has to act.

ChatqError
├─ ConfigError                 the operator acts; raised at start only
├─ JobRejected                 the caller of the producer acts; no job was made
│  ├─ InvalidRequest           a field of the request is wrong
│  │  └─ RequestTooLarge       the body is over the size limit
│  ├─ ProviderNotFound         the model routes to a provider that is not registered
│  └─ IdempotencyConflict      the idempotency key was used with another body
├─ JobNotFound                 no such job, or its result has expired
├─ JobFailed                   the job ended without an answer (raised by readers that want one)
├─ BatchRefused                the files of a `chatq run` do not fit the command; the caller acts
├─ WorkerLost                  the worker that a `chatq run` started keeps dying
├─ WaitTimeout                 the job was not finished in time; it goes on
├─ StoreError                  Redis; every script is safe to send again
│  ├─ StoreUnavailable         no connection, no answer
│  ├─ StoreFull                `maxmemory` reached: new work is refused
│  └─ StoreUnsuitable          the server cannot keep jobs safely (version, eviction policy)
└─ UpstreamError               one call to one upstream did not give an answer
   ├─ UpstreamUnavailable      connection, time-out, 5xx, malformed answer: worth another attempt
   ├─ RateLimited              429: wait, the attempt is not spent
   ├─ CredentialRejected       401/402/403: the operator acts, no retry
   └─ RequestRefused           other 4xx: the job itself is wrong, no retry
"""

from __future__ import annotations


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


class JobNotFound(ChatqError):
    """No job with this id: never accepted, or its result lived out its TTL."""

    code = "job_not_found"
    exit_code = 4


class JobFailed(ChatqError):
    """The job ended failed, cancelled or expired; the message is the job's own error."""

    code = "job_failed"
    exit_code = 1


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


class UpstreamError(ChatqError):
    """One call to one upstream failed.

    Attributes:
        status: HTTP status, or None when no answer came.
        retry_after_s: The wait the upstream stated, in seconds, or None.
        maybe_billed: The request was sent, so the provider may charge for it.
    """

    code = "upstream_error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status: int | None = None,
        retry_after_s: float | None = None,
        maybe_billed: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code or type(self).code
        self.status = status
        self.retry_after_s = retry_after_s
        self.maybe_billed = maybe_billed


class UpstreamUnavailable(UpstreamError):
    """Connection, time-out, 408/409/5xx or a malformed answer: another attempt may succeed.

    Codes: `connect_failed`, `connect_timeout`, `read_timeout`, `total_timeout`, `connection_lost`,
    `truncated`, `malformed`, `empty_body`, `no_choices`, `error_in_answer`, `server_error`.
    """

    code = "upstream_unavailable"


class RateLimited(UpstreamError):
    """The upstream asks to wait. Waiting is not a failed attempt."""

    code = "rate_limited"


class CredentialRejected(UpstreamError):
    """Key, plan or balance: no retry helps until the operator acts."""

    code = "credential_rejected"


class RequestRefused(UpstreamError):
    """This very request cannot be served: 4xx, an oversized answer, or what the wire cannot say. No retry.

    Codes: `request_refused`, `answer_too_large`, `unsupported_content`, `unsupported`, `redirected`,
    `empty_prompt`.
    """

    code = "request_refused"
