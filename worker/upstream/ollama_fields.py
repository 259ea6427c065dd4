"""What Ollama's two endpoints share: options, thinking, format, finish, usage (provider-wire.md §1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.chat import ChatRequest
from shared.errors import RequestRefused
from shared.usage import NO_USAGE, Usage
from worker.upstream.answers import malformed, tokens, translated
from worker.upstream.parts import Image, Text, content_of, image_of, images_of, unsupported
from worker.upstream.wire import Completion

_EXTRA_OPTIONS = (
    "frequency_penalty",
    "presence_penalty",
    "repeat_penalty",
    "repeat_last_n",
    "top_k",
    "min_p",
    "num_ctx",
)
"""Fields outside the chat schema that are options under the same name."""

_TOP_LEVEL = ("keep_alive", "truncate", "shift")
"""Fields of Ollama's own, passed as they are."""

_LEVELS: dict[str, bool | str] = {"none": False, "minimal": "low", "xhigh": "max"}
"""Words of `reasoning_effort` that Ollama spells differently; low, medium, high and max are the same."""


def common_body(request: ChatRequest, model: str, extra_body: Mapping[str, Any]) -> dict[str, Any]:
    """Every field but the messages.

    The provider's `extra_body` lies under the request's fields; `options` of the two, and those an
    `options` object of the request states, are merged name by name, the request's own object last.
    """
    extra = request.model_extra or {}
    body: dict[str, Any] = {**extra_body, "model": model, "stream": False}
    # Left out, it means true on a thinking model; false is harmless on the others.
    body["think"] = _think(request, extra_body.get("think", False))
    output_format = _format(request)
    if output_format is not None:
        body["format"] = output_format
    for name in _TOP_LEVEL:
        if extra.get(name) is not None:
            body[name] = extra[name]
    options = _options(request, extra, extra_body.get("options"))
    if options:
        body["options"] = options
    return body


def _options(request: ChatRequest, extra: Mapping[str, Any], base: Any) -> dict[str, Any]:
    stated = extra.get("options")
    if stated is not None and not isinstance(stated, dict):
        raise unsupported("options: must be an object")
    named = {
        "num_predict": request.output_limit_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "seed": request.seed,
        "stop": [request.stop] if isinstance(request.stop, str) else request.stop,
    }
    named.update((name, extra.get(name)) for name in _EXTRA_OPTIONS)
    given = {name: value for name, value in named.items() if value is not None}
    return {**(base if isinstance(base, dict) else {}), **given, **(stated or {})}


def _think(request: ChatRequest, default: bool | str) -> bool | str:
    if request.think is not None:
        return request.think
    if request.reasoning_effort is None:
        return default
    return _LEVELS.get(request.reasoning_effort, request.reasoning_effort)


def _format(request: ChatRequest) -> str | dict[str, Any] | None:
    wanted = request.response_format
    if wanted is None:
        return None if request.format == "text" else request.format
    if wanted.get("type") == "json_schema":
        named = wanted.get("json_schema")
        schema = named.get("schema") if isinstance(named, dict) else None
        return schema if isinstance(schema, dict) else "json"
    return "json" if wanted.get("type") == "json_object" else None


def text_and_images(message: Mapping[str, Any], where: str) -> tuple[str, list[str]]:
    """The text of a message, parts joined by line breaks, and its images as bare base64, which is all Ollama takes.

    Args:
        message: One message of the request.
        where: Its path (`messages.2`), for error messages.

    Raises:
        CandidateUnfit: It holds anything else; the message names it.
    """
    texts, images = [], []
    for part in content_of(message, where, "Ollama"):
        if isinstance(part, Text):
            texts.append(part.text)
        else:
            images.append(_base64(part, where))
    for image, path in images_of(message, where):
        # Bare base64 is Ollama's own form: it goes as it is, whatever kind of image it holds.
        is_bare = isinstance(image, str) and image[:5].lower() != "data:"
        images.append(image if is_bare else _base64(image_of(image, path), path))
    return "\n".join(texts), images


def _base64(image: Image, where: str) -> str:
    if image.data is None:
        raise unsupported(
            f"{where}: Ollama loads no images from addresses ({image.url[:60]!r}); send data:image/…;base64,…"
        )
    return image.data


def finished(data: dict[str, Any], model: str, message: dict[str, Any]) -> Completion:
    """The completion around a translated message.

    Raises:
        UpstreamUnavailable: The answer ended without its `done` mark.
        RequestRefused: Ollama had nothing to answer: the prompt is empty.
    """
    if data.get("done") is not True:
        raise malformed("the answer ended before it was done", code="truncated")
    reason = data.get("done_reason")
    if reason in ("load", "unload"):
        raise RequestRefused(
            "the prompt is empty, so the model was only loaded", code="empty_prompt", status=200
        )
    finish_reason = "tool_calls" if message.get("tool_calls") else "length" if reason == "length" else "stop"
    return translated(message, finish_reason, usage_of(data), id=None, model=data.get("model") or model)


def usage_of(data: dict[str, Any]) -> Usage:
    """What an answer says it took (docs/provider-wire.md §14): it says so with its `done` mark, zeros left out."""
    if data.get("done") is not True:
        return NO_USAGE
    return {
        **NO_USAGE,
        "input_total": tokens(data.get("prompt_eval_count", 0)),
        "output_total": tokens(data.get("eval_count", 0)),
    }


def said(text: Any, thinking: Any) -> dict[str, Any]:
    """The assistant's message; the trace goes where OpenAI-type servers put it.

    Raises:
        UpstreamUnavailable: The text is missing or not text.
    """
    if not isinstance(text, str):
        raise malformed("the answer has no text")
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if thinking:
        message["reasoning_content"] = thinking
    return message
