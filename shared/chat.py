"""The chat request and response: one schema inside chatq, in OpenAI's vocabulary.

A request is validated once at each edge (producer, and the worker's claim: Redis is untrusted). Unknown
fields are kept, because OpenAI-type upstreams may know them. Messages stay plain dicts: they are checked,
never copied into objects, and go to the wire as they came.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from typing_extensions import TypedDict

from shared.errors import InvalidRequest, RequestTooLarge
from shared.usage import Usage

ModelName = Annotated[str, Field(min_length=1, max_length=256)]


class ContentPart(TypedDict):
    """One part of a message: `text`, `image_url`, or a type chatq does not interpret."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    type: str


class Message(TypedDict):
    """One chat turn, as OpenAI writes it. Further fields (`name`, `reasoning_content` …) are kept."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    role: Literal["system", "developer", "user", "assistant", "tool", "function", "model"]
    """`model` is Gemini's word for `assistant`, `function` OpenAI's old one for `tool`; workers translate both."""
    content: NotRequired[str | list[ContentPart] | None]
    tool_calls: NotRequired[list[dict[str, Any]] | None]
    tool_call_id: NotRequired[str | None]


class ChatRequest(BaseModel):
    """One chat request. Fields left out are left out on the wire too."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())

    model: ModelName
    messages: Annotated[list[Message], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    response_format: dict[str, Any] | None = None
    format: Literal["json", "text"] | dict[str, Any] | None = None
    """Ollama's short form: `"json"`, or a JSON Schema."""
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    reasoning_effort: str | None = None
    think: bool | str | None = None
    """Ollama's switch for the thinking trace; off unless asked for."""
    stream: Literal[False] | None = None
    """A queued job answers once; streaming is not for jobs."""
    fallbacks: Annotated[list[ModelName], Field(max_length=15)] | None = None
    """Further models to go on with, in this order, when the first cannot answer. Not sent to upstreams."""

    @property
    def output_limit_tokens(self) -> int | None:
        """The cap on generated tokens, whichever of OpenAI's two names it came under."""
        return self.max_completion_tokens or self.max_tokens

    def body(self) -> dict[str, Any]:
        """The fields that were given, unknown ones included, as a new dict; values are shared, not copied.

        The order is the schema's, then the caller's: the same request has the same JSON in every process,
        because idempotency compares its digest.
        """
        given_names = self.model_fields_set
        given = {name: value for name, value in self.__dict__.items() if name in given_names}
        if self.__pydantic_extra__:
            given.update(self.__pydantic_extra__)
        return given


def parse_request(data: Any) -> ChatRequest:
    """Validate an untrusted, already decoded JSON value.

    Raises:
        InvalidRequest: Naming the field and what is wrong with it.
    """
    try:
        return ChatRequest.model_validate(data)
    except ValidationError as exc:
        raise _explain(exc) from None


def encode_request(request: ChatRequest, *, max_bytes: int) -> bytes:
    """The request as compact JSON.

    Raises:
        RequestTooLarge: Over `max_bytes`.
        InvalidRequest: A value has no JSON form.
    """
    try:
        encoded = orjson.dumps(request.body())
    except TypeError as exc:
        raise InvalidRequest(f"the request cannot be written as JSON: {exc}") from None
    if len(encoded) > max_bytes:
        raise RequestTooLarge(f"the request is {len(encoded):,} bytes; the limit is {max_bytes:,}")
    return encoded


def _explain(exc: ValidationError) -> InvalidRequest:
    """The first complaint, in one line. Values are left out: they may be prompts."""
    first = exc.errors(include_url=False, include_input=False)[0]
    path = ".".join(str(step) for step in first["loc"])
    if first["type"] == "missing":
        text = f"{path}: this field is required"
    elif path == "stream":
        text = "stream: a queued job answers once; leave `stream` out or set it to false"
    elif not path:
        text = "the request must be a JSON object"
    else:
        text = f"{path}: {first['msg'][:1].lower()}{first['msg'][1:]}"
    return InvalidRequest(text, field=path or None)


class ChatqRecord(TypedDict):
    """What chatq adds to a response, under the key `chatq`."""

    provider: str
    upstream_model: str
    finish_reason: str | None
    latency_s: float
    """Send to last byte of the call that answered."""
    usage: Usage
    cost_usd: NotRequired[float | None]
    """What that call cost; None = nobody knows."""
    cost_basis: NotRequired[str | None]
    """Who says so, or why nobody does (`shared.catalogue.Basis`)."""
    response: NotRequired[dict[str, Any]]
    """The Response object, of a request that was one in the provider's own words (`native_responses.py`)."""
    notes: NotRequired[list[str]]
    """What was changed of the request before it was sent, for people."""


def completion(
    *,
    id: str,
    created: int,
    model: str,
    message: dict[str, Any],
    finish_reason: str,
    usage: Usage,
) -> dict[str, Any]:
    """A ChatCompletion object, for wires that do not speak OpenAI's shape.

    Args:
        id: Identifier of the answer; clients show it, nothing depends on it.
        created: Unix seconds.
        model: The model that answered.
        message: `{"role": "assistant", "content": …, "tool_calls"?: …}`.
        finish_reason: OpenAI's word: `stop`, `length`, `tool_calls`, `content_filter`.
        usage: chatq's record; its totals become OpenAI's `usage`.
    """
    prompt, output = usage["input_total"] or 0, usage["output_total"] or 0
    return {
        "id": id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output},
    }
