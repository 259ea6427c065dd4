"""An operation: one method on one path, with what its documentation and its access check need to know.

The routes, the access table and the OpenAPI description are all made from these, so none can forget one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from starlette.responses import Response

from producer.api.principal import Role

if TYPE_CHECKING:
    from producer.api.call import Call

Schema = Mapping[str, Any]
"""JSON Schema, as OpenAPI 3.1 has it; `{"$ref": "#/components/schemas/Job"}` names one of `openapi.py`."""

JSON = "application/json"
NDJSON = "application/x-ndjson"
SSE = "text/event-stream"

Handler = Callable[["Call"], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter in the path, the query or the headers."""

    name: str
    where: Literal["path", "query", "header"]
    schema: Schema
    description: str


@dataclass(frozen=True, slots=True)
class Body:
    """A request's body."""

    schema: Schema
    media: str = JSON
    is_required: bool = True


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of an operation. Errors need none: `openapi.py` adds OpenAI's envelope to each operation."""

    description: str
    schema: Schema | None = None
    media: str = JSON
    or_events: bool = False
    """Whether it comes as server-sent events where the caller asks for a stream."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One method on one path.

    Attributes:
        path: With `{id}` for one segment and `{model:path}` for the rest; without `/v1`, which may always stand
            before it.
        role: What the caller must be allowed to do; None = anybody.
        summary: One line for the documentation.
        replies: By status, the errors left out.
        is_v1: Whether it is documented under `/v1`.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    handler: Handler
    summary: str
    role: Role | None
    tag: str
    params: Sequence[Param] = ()
    body: Body | None = None
    replies: Mapping[int, Reply] = field(default_factory=dict)
    is_v1: bool = True
