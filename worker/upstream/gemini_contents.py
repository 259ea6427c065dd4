"""A conversation in Gemini's words: `contents` of the roles `user` and `model`, and the system instruction."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import orjson

from worker.upstream.parts import Image, Text, parts_of, text_of, unsupported
from worker.upstream.tools import Call, Calls

NO_SIGNATURE = "skip_thought_signature_validator"
"""Google's own stand-in for the signature of a call that the model did not make itself: another model's, or one
written by the caller (ai.google.dev, "Thought signatures", FAQ)."""

_ROLES = {"user": "user", "assistant": "model", "tool": "user"}

Part = dict[str, Any]


def conversation(messages: Sequence[Mapping[str, Any]], *, is_signed: bool) -> tuple[list[Part], list[Part]]:
    """The messages as `contents`, and the parts of the system instruction.

    System messages come together wherever they stand. Neighbours of one kind become one content, as Gemini
    wants the results of all calls of an answer in one. What is empty is left out: it is a 400.

    Args:
        messages: Of the request.
        is_signed: The model wants a signature on each answer's first function call.

    Raises:
        CandidateUnfit: A message holds what Gemini cannot take, or there is nothing in them.
    """
    calls = Calls()
    instruction: list[Part] = []
    turns: list[tuple[str, list[Part]]] = []
    for position, message in enumerate(messages):
        where = f"messages.{position}"
        kind = message["role"]
        if kind in ("system", "developer"):
            instruction += _texts(text_of(message, where, "Gemini"))
            continue
        if kind == "assistant":
            parts = _said(message, where, calls, is_signed=is_signed)
        elif kind == "user":
            parts = _parts(message, where)
        else:
            kind, parts = "tool", [_result(message, where, calls)]
        if turns and turns[-1][0] == kind:
            turns[-1][1].extend(parts)
        elif parts:
            turns.append((kind, parts))
    if not turns:  # instructions alone are a request too, but not one that Gemini answers
        turns, instruction = [("user", instruction)], []
    if not turns[0][1]:
        raise unsupported("messages: there is no text in them")
    return [{"role": _ROLES[kind], "parts": parts} for kind, parts in turns], instruction


def _texts(text: str) -> list[Part]:
    return [{"text": text}] if text else []


def _parts(message: Mapping[str, Any], where: str) -> list[Part]:
    parts: list[Part] = []
    for part in parts_of(message, where, "Gemini"):
        if isinstance(part, Text):
            parts += _texts(part.text)
        else:
            parts.append(_image(part, where))
    return parts


def _image(image: Image, where: str) -> Part:
    if image.data is not None:
        return {"inlineData": {"mimeType": image.media_type, "data": image.data}}
    if not image.url.startswith("https://"):
        raise unsupported(f"{where}: Gemini loads images from https addresses only ({image.url[:60]!r})")
    file = {"fileUri": image.url}
    media_type, _ = mimetypes.guess_type(urlsplit(image.url).path)
    if media_type:
        file["mimeType"] = media_type
    return {"fileData": file}


def _said(message: Mapping[str, Any], where: str, calls: Calls, *, is_signed: bool) -> list[Part]:
    made = [_call(call) for call in calls.read(message, where)]
    if is_signed and made and not any("thoughtSignature" in part for part in made):
        made[0]["thoughtSignature"] = NO_SIGNATURE
    return _parts(message, where) + made


def _call(call: Call) -> Part:
    part: Part = {"functionCall": {"id": call.id, "name": call.name, "args": call.arguments_object()}}
    match call.given.get("extra_content"):
        case {"google": {"thought_signature": str(signature)}} if signature:
            part["thoughtSignature"] = signature
    return part


def _result(message: Mapping[str, Any], where: str, calls: Calls) -> Part:
    call_id, name = calls.answered(message, where)
    if name is None:
        raise unsupported(f"{where}: Gemini wants to know the tool, and no call has this tool_call_id")
    text = text_of(message, where, "Gemini")
    return {"functionResponse": {"id": call_id, "name": name, "response": _response(text)}}


def _response(text: str) -> dict[str, Any]:
    """An object, as Gemini wants it: the tool's own if it answered with one."""
    if text.lstrip().startswith("{"):
        try:
            said = orjson.loads(text)
        except orjson.JSONDecodeError:
            said = None
        if isinstance(said, dict):
            return said
    return {"output": text}
