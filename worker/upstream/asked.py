"""What a request asks of its answer - format, thinking, stops - read once for wires with other words for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from shared.chat import ChatRequest
from shared.errors import CandidateUnfit

LEVELS = ("minimal", "low", "medium", "high", "xhigh", "max")
"""The words of `reasoning_effort` and `think`, least first; "none" is off (docs/provider-wire.md §7)."""

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "audio": (),
    "modalities": (["text"],),
    "functions": ([],),
    "function_call": ("auto", "none"),
    "web_search_options": (),
}
"""Fields of OpenAI chat that ask for another answer and that only its own wire can say, with the values that ask
for nothing. Other fields that a wire has no word for are hints (`seed`, `user`, `metadata` …), and stay home."""


class JsonSchema(NamedTuple):
    """The JSON Schema that an answer must fit.

    Attributes:
        is_strict: Whether it must fit exactly; None if the request does not say.
    """

    name: str
    schema: dict[str, Any]
    is_strict: bool | None
    description: str | None


def extra_fields(request: ChatRequest) -> Mapping[str, Any]:
    """The fields outside the chat schema."""
    return request.model_extra or {}


def unsayable(text: str) -> CandidateUnfit:
    """A field asks for what this wire or model cannot do; the text begins with the field's name."""
    return CandidateUnfit(text, code="unsupported_feature")


def refuse_unsayable(request: ChatRequest, wire: str) -> None:
    """Refuse fields that ask for an answer which only OpenAI's chat wire can give.

    Raises:
        CandidateUnfit: Naming the field.
    """
    extra = request.model_extra
    if not extra or extra.keys().isdisjoint(_NEUTRAL):
        return
    for name, neutral in _NEUTRAL.items():
        value = extra.get(name)
        if value is not None and value not in neutral:
            raise unsayable(f"{name}: {wire} cannot be asked for that")


def asked_format(request: ChatRequest) -> Literal["json"] | JsonSchema | None:
    """The format of the answer: any JSON, JSON of one schema, or None for text.

    `response_format` goes before `format`, Ollama's short form.

    Raises:
        CandidateUnfit: `response_format` has a type of its own.
    """
    wanted = request.response_format
    if wanted is None:
        return _short_form(request.format)
    match wanted.get("type"):
        case "json_object":
            return "json"
        case "json_schema":
            return _named_schema(wanted.get("json_schema"))
        case "text" | None:
            return None
        case other:
            raise unsayable(f"response_format: {str(other)[:60]!r} is not known here")


def _short_form(wanted: str | dict[str, Any] | None) -> Literal["json"] | JsonSchema | None:
    if isinstance(wanted, dict):
        return JsonSchema("answer", wanted, None, None)
    return "json" if wanted == "json" else None


def _named_schema(named: Any) -> Literal["json"] | JsonSchema:
    if not isinstance(named, dict) or not isinstance(named.get("schema"), dict):
        return "json"  # as on the wires of Ollama
    name, strict, description = named.get("name"), named.get("strict"), named.get("description")
    return JsonSchema(
        name if isinstance(name, str) and name else "answer",
        named["schema"],
        strict if isinstance(strict, bool) else None,
        description if isinstance(description, str) else None,
    )


def asked_thinking(request: ChatRequest) -> bool | str | None:
    """How much the model is to think: a word of `LEVELS`, True (as much as it likes), False, or None (its default).

    `think: false` goes before everything, then a level in `reasoning_effort`, then `think`.

    Raises:
        CandidateUnfit: A level that is none.
    """
    if request.think is False:
        return False
    for name, value in (("reasoning_effort", request.reasoning_effort), ("think", request.think)):
        if isinstance(value, str):
            return _level(name, value)
    return request.think


def _level(name: str, value: str) -> str | Literal[False]:
    level = value.lower()
    if level == "none":
        return False
    if level not in LEVELS:
        raise unsayable(f"{name}: {value[:60]!r} is none of none, {', '.join(LEVELS)}")
    return level


def asked_stops(request: ChatRequest) -> list[str]:
    """The texts that end the answer; empty ones end nothing."""
    stops = [request.stop] if isinstance(request.stop, str) else request.stop or []
    return [stop for stop in stops if stop]


def merged(name: str, *layers: Any) -> dict[str, Any]:
    """Objects laid over each other, field by field; the last one wins, None is no object.

    Args:
        name: The field they are all values of, for error messages.
        layers: From the provider's `extra_body` up to the request's own.

    Raises:
        CandidateUnfit: One is not an object.
    """
    together: dict[str, Any] = {}
    for layer in layers:
        if layer is None:
            continue
        if not isinstance(layer, dict):
            raise unsayable(f"{name}: must be an object")
        together.update(layer)
    return together
