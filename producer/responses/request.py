"""The body of `POST /v1/responses`, checked, and the part of it that the Response object repeats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.chat import ModelName
from shared.errors import InvalidRequest

_STRICT = ConfigDict(extra="allow", frozen=True, strict=True, protected_namespaces=())

Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]
"""OpenAI's bounds for labels."""


class ReasoningOptions(BaseModel):
    """How the model is to think."""

    model_config = _STRICT

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    """OpenAI's old name for `summary`."""


class TextOptions(BaseModel):
    """The form of the answer."""

    model_config = _STRICT

    format: dict[str, Any] | None = None
    """Its `type` and what belongs to that; see `translate.py`."""
    verbosity: Literal["low", "medium", "high"] | None = None


class ResponsesRequest(BaseModel):
    """One request. Fields that chatq does not know are kept, and go to the provider as they are.

    `input`, `tools` and `tool_choice` are checked where they are translated.
    """

    model_config = _STRICT

    model: ModelName
    input: str | list[dict[str, Any]] = Field(union_mode="left_to_right", default=[])
    instructions: str | None = None
    background: bool | None = None
    stream: bool | None = None
    store: bool | None = None
    previous_response_id: str | None = None
    metadata: Metadata | None = None
    include: list[str] | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    max_tool_calls: Annotated[int, Field(ge=1)] | None = None
    """Of hosted tools; function calls, which the caller makes, it does not count."""
    parallel_tool_calls: bool | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    reasoning: ReasoningOptions | None = None
    text: TextOptions | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    @property
    def is_background(self) -> bool:
        """Whether the answer is fetched later."""
        return bool(self.background)

    @property
    def is_stored(self) -> bool:
        """Whether the response is kept for good; OpenAI's default is yes."""
        return self.store is not False

    @property
    def is_streamed(self) -> bool:
        """Whether events are wanted."""
        return bool(self.stream)


def read_request(body: Mapping[str, Any]) -> ResponsesRequest:
    """Validate an untrusted body.

    Raises:
        InvalidRequest: Naming the field and what is wrong with it.
    """
    try:
        return ResponsesRequest.model_validate(dict(body))
    except ValidationError as exc:
        raise _explain(exc) from None


def echo(request: ResponsesRequest) -> dict[str, Any]:
    """What the Response object repeats of its request, defaults filled in (openai-wire.md §8.2)."""
    text = request.text.model_dump(exclude_unset=True) if request.text else {}
    reasoning = request.reasoning.model_dump(exclude_unset=True) if request.reasoning else {}
    return {
        "model": request.model,
        "background": request.is_background,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": request.max_tool_calls,
        "metadata": request.metadata or {},
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": request.previous_response_id,
        "prompt_cache_key": request.prompt_cache_key,
        "reasoning": {"effort": None, "summary": None, **reasoning},
        "safety_identifier": request.safety_identifier,
        "service_tier": request.service_tier or "default",
        "store": request.is_stored,
        "temperature": request.temperature,
        "text": {**text, "format": text.get("format") or {"type": "text"}},
        "tool_choice": request.tool_choice or "auto",
        "tools": request.tools or [],
        "top_logprobs": request.top_logprobs,
        "top_p": request.top_p,
        # What does not fit into the model's context is refused there, never cut here, whatever was asked for.
        "truncation": "disabled",
        "user": request.user,
    }


def _explain(exc: ValidationError) -> InvalidRequest:
    """The first complaint, in one line. Values are left out: they may be prompts."""
    first = exc.errors(include_url=False, include_input=False)[0]
    steps = [str(step) for step in first["loc"] if step not in _BRANCHES]
    path = ".".join(steps)[:200]
    if first["type"] == "missing":
        text = f"{path}: this field is required"
    elif path == "input":
        text = "input: must be a text or a list of items, each an object"
    else:
        text = f"{path}: {first['msg']}"
    return InvalidRequest(text, field=path)


_BRANCHES = frozenset({"str", "list[dict[str,any]]", "dict[str,any]", "[key]"})
"""Steps of pydantic's own in a path: which member of a union was tried."""
