"""Errors as HTTP answers: OpenAI's envelope, on every path (docs/openai-wire.md §3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.errors import (
    BatchConflict,
    ChatqError,
    FilesUnavailable,
    IdempotencyConflict,
    InvalidRequest,
    JobNotFound,
    LaneFull,
    ProviderNotFound,
    RequestTooLarge,
    StoreError,
    StoreFull,
    WaitTimeout,
)

MAX_RETRY_AFTER_S = 120.0
"""The official clients give up at once when they are told to wait for longer."""

FINAL = {"x-should-retry": "false"}
"""For an answer that asking again does not change, under a status that clients retry (409, 429, 5xx)."""


class ApiError(Exception):
    """An answer other than 2xx.

    Attributes:
        status: HTTP status.
        kind: OpenAI's `type`.
        code: OpenAI's or chatq's word for programs.
        param: The field that is wrong, as a path (`messages.0.role`).
        headers: Of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.code = code
        self.param = param
        self.headers = dict(headers or {})

    def envelope(self) -> dict[str, Any]:
        """The body of the answer."""
        return envelope(str(self), kind=self.kind, code=self.code, param=self.param)


def envelope(message: str, *, kind: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """OpenAI's error object: always these four keys."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def not_found(what: str, object_id: str) -> ApiError:
    """No such object, or it is somebody else's: the answer is the same."""
    return ApiError(404, f"no {what} {object_id!r}: it never existed, was deleted, or its time is over")


def unauthorized() -> ApiError:
    """No token, or a wrong one."""
    text = "a valid API key is needed: Authorization: Bearer <token>"
    return ApiError(401, text, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})


def forbidden(message: str, *, code: str, param: str | None = None) -> ApiError:
    """The caller is known, and may not."""
    return ApiError(403, message, kind="permission_error", code=code, param=param)


def retry_after(seconds: float | None) -> dict[str, str]:
    """`Retry-After`, at least a second and never so long that clients give up."""
    return {"Retry-After": str(round(min(MAX_RETRY_AFTER_S, max(1.0, seconds or 1.0))))}


def as_api_error(exc: ChatqError) -> ApiError:
    """What one of chatq's errors is over HTTP."""
    match exc:
        case RequestTooLarge():
            return ApiError(413, str(exc), code=exc.code, param=exc.field)
        case InvalidRequest():
            return ApiError(400, str(exc), code=exc.code, param=exc.field)
        case ProviderNotFound():
            return ApiError(404, str(exc), code="model_not_found", param="model")
        case IdempotencyConflict() | BatchConflict():
            return ApiError(409, str(exc), kind="conflict", code=exc.code, headers=FINAL)
        case LaneFull():
            return ApiError(
                429, str(exc), kind="rate_limit_error", code=exc.code, headers=retry_after(exc.retry_after_s)
            )
        case JobNotFound():
            return ApiError(404, str(exc), code=exc.code)
        case WaitTimeout():
            return ApiError(504, str(exc), kind="timeout", code=exc.code, headers=FINAL)
        case StoreError() | FilesUnavailable():
            return _unavailable(exc)
        case _:
            return internal_error()


def _unavailable(exc: StoreError | FilesUnavailable) -> ApiError:
    """What we stand on is away. Its own text names it; who asks over HTTP can do nothing about it."""
    match exc:
        case StoreFull():
            text, wait_s = str(exc), 10
        case FilesUnavailable():
            text, wait_s = "the file store does not answer; ask again", 5
        case _:
            text, wait_s = "the queue's store does not answer; ask again", 2
    return ApiError(503, text, kind="server_error", code=exc.code, headers=retry_after(wait_s))


def internal_error() -> ApiError:
    """A bug of ours: the log has the traceback, the answer has not."""
    return ApiError(500, "internal error; the server's log has the request's id", kind="server_error")
