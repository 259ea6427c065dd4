"""A message's content taken apart, for wires that want text and images in separate fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.errors import CandidateUnfit


def split_content(message: Mapping[str, Any], where: str) -> tuple[str, list[str]]:
    """The text of a message and its images.

    Text parts are joined by line breaks. Images come as bare base64, which is all that Ollama takes; an
    `images` list of the message (Ollama's own form) is kept.

    Args:
        message: One message of the request.
        where: Its path (`messages.2`), for error messages.

    Raises:
        CandidateUnfit: A part cannot be said on this wire; the message names it.
    """
    content = message.get("content")
    images = [str(image) for image in message.get("images") or ()]
    if content is None or isinstance(content, str):
        return content or "", images
    texts = []
    for position, part in enumerate(content):
        path = f"{where}.content.{position}"
        if part["type"] == "text":
            texts.append(str(part.get("text") or ""))
        elif part["type"] == "image_url":
            images.append(_base64_image(part.get("image_url"), path))
        else:
            raise unsupported(f"{path}: Ollama takes text and images, not {part['type']!r}")
    return "\n".join(texts), images


def unsupported(text: str) -> CandidateUnfit:
    """The request holds something that this wire has no words for."""
    return CandidateUnfit(text, code="unsupported_content")


def _base64_image(image: Any, path: str) -> str:
    url = image.get("url") if isinstance(image, dict) else image
    if not isinstance(url, str):
        raise unsupported(f"{path}: image_url has no url")
    head, comma, data = url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        raise unsupported(
            f"{path}: Ollama loads no images from addresses ({url[:60]!r}); send data:image/…;base64,…"
        )
    return data
