"""A call: one HTTP request with who makes it and what serves it, and how its body is read."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from producer.api.errors import ApiError
from producer.api.principal import Principal
from producer.api.services import Services

log = logging.getLogger(__name__)

MAX_DEPTH = 100
"""Deepest nesting of a JSON body: schemas of tools need a dozen levels, and later readers recurse."""

IDEMPOTENCY_KEY = "idempotency-key"


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    Attributes:
        headers: By name in small letters (`read_headers`).
        principal: Who makes it.
        services: What serves it.
        id: `req_…`, as the answer's `x-request-id` and the log have it.
    """

    request: Request
    headers: Mapping[str, str]
    principal: Principal
    services: Services
    id: str

    @property
    def idempotency_key(self) -> str | None:
        """The caller's name for this very call, so that it can be sent twice."""
        return self.headers.get(IDEMPOTENCY_KEY)

    def path(self, name: str) -> str:
        """A part of the path."""
        return str(self.request.path_params[name])

    def number(self, name: str, default: int, *, least: int, most: int) -> int:
        """A whole number of the query.

        Raises:
            ApiError: 400; it is none, or out of bounds.
        """
        given = self.request.query_params.get(name)
        if given is None:
            return default
        if given.isascii() and given.isdigit() and len(given) <= 18 and least <= int(given) <= most:
            return int(given)
        raise ApiError(
            400, f"{name}: must be a whole number from {least} to {most:,}", code="invalid_value", param=name
        )

    def seconds(self, name: str, default: float, *, most: float) -> float:
        """A time of the query, in seconds; longer ones are cut.

        Raises:
            ApiError: 400; it is none.
        """
        given = self.request.query_params.get(name)
        if given is None:
            return default
        try:
            value = float(given)
        except ValueError:
            value = -1.0
        if not 0 <= value < float("inf"):
            raise ApiError(
                400, f"{name}: must be a number of seconds from 0", code="invalid_value", param=name
            )
        return min(value, most)

    async def body(self, *, max_bytes: int) -> bytes:
        """The whole body.

        Raises:
            ApiError: 413; it is larger. What follows is not read.
        """
        stated = self.headers.get("content-length", "0")
        if stated.isdigit() and int(stated) > max_bytes:
            raise _too_large(max_bytes)
        parts: list[bytes] = []
        size = 0
        is_whole = False
        while not is_whole:  # not Starlette's generator: the loop registers each one
            message = await self.request.receive()
            if message["type"] == "http.disconnect":
                raise ApiError(400, "the connection was closed in the middle of the body")
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > max_bytes:
                raise _too_large(max_bytes)
            is_whole = not message.get("more_body", False)
        return b"".join(parts)

    async def json(self, *, max_bytes: int | None = None) -> dict[str, Any]:
        """The body, a JSON object; `max_bytes` is the setting's for a request if nothing else is said.

        Raises:
            ApiError: 400; it is something else. 413.
        """
        most = self.services.settings.jobs.max_body_bytes if max_bytes is None else max_bytes
        return read_json(await self.body(max_bytes=most))


def read_headers(scope: Scope) -> dict[str, str]:
    """The headers of a request, by name in small letters; of one that comes several times, all values in a list.

    Read once: a dozen are looked for in every call, and Starlette goes through all of them for each.
    """
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def read_json(data: bytes, *, what: str = "the body") -> dict[str, Any]:
    """An untrusted JSON object.

    Args:
        what: It is called so in errors.

    Raises:
        ApiError: 400; it is something else, or nested deeper than `MAX_DEPTH`.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        raise ApiError(400, f"{what} is not JSON: {exc}", code="invalid_json") from None
    if not isinstance(value, dict):
        raise ApiError(400, f"{what} must be a JSON object", code="invalid_json")
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise ApiError(400, f"{what} is nested deeper than {MAX_DEPTH} levels", code="invalid_json")
    return value


def json_answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(orjson.dumps(value), status, headers, "application/json")


def _depth(value: Any) -> int:
    """How deep a value is nested, without recursion."""
    deepest, left = 0, [(value, 1)]
    while left:
        one, depth = left.pop()
        deepest = max(deepest, depth)
        inner = one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
        left += [(each, depth + 1) for each in inner if isinstance(each, (dict, list))]
    return deepest


def _too_large(max_bytes: int) -> ApiError:
    return ApiError(413, f"the body is over the limit of {max_bytes:,} bytes", code="request_too_large")
