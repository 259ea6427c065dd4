"""The parts of a message, text and images, read once for the wires that say them in other words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from shared.errors import CandidateUnfit

_NO_FIELDS: Mapping[str, Any] = {}

_MEDIA_TYPES = {
    "iVBORw0KGgo": "image/png",
    "/9j/": "image/jpeg",
    "R0lGOD": "image/gif",
    "UklGR": "image/webp",
}
"""By how the base64 of a file begins: Ollama's images, and some data: URLs, name no type."""


class Text(NamedTuple):
    """A piece of text.

    Attributes:
        given: The part as it came; some wires know further fields of it.
    """

    text: str
    given: Mapping[str, Any] = _NO_FIELDS


class Image(NamedTuple):
    """An image: by its content or by its address.

    Attributes:
        url: Where it is, or the whole data: URL.
        data: Its base64, or None when it has to be fetched from `url`.
        media_type: `image/png` …; None when it has to be fetched.
        given: The part as it came.
    """

    url: str
    data: str | None
    media_type: str | None
    given: Mapping[str, Any] = _NO_FIELDS


def unsupported(text: str) -> CandidateUnfit:
    """The request holds something that this wire has no words for."""
    return CandidateUnfit(text, code="unsupported_content")


def parts_of(message: Mapping[str, Any], where: str, wire: str) -> Iterator[Text | Image]:
    """The parts of one message, in their order; an `images` list (Ollama's, and our own answers') comes last.

    Args:
        message: One message of the request.
        where: Its path (`messages.2`), for error messages.
        wire: Who is spoken to, for error messages.

    Raises:
        CandidateUnfit: A part is neither text nor an image; the message names it.
    """
    yield from content_of(message, where, wire)
    for image, path in images_of(message, where):
        yield image_of(image, path)


def content_of(message: Mapping[str, Any], where: str, wire: str) -> Iterator[Text | Image]:
    """The parts of a message's `content` alone; see `parts_of`."""
    content = message.get("content")
    if isinstance(content, str):
        yield Text(content)
    else:
        for position, part in enumerate(content or ()):
            yield _part(part, f"{where}.content.{position}", wire)


def images_of(message: Mapping[str, Any], where: str) -> Iterator[tuple[Any, str]]:
    """What stands in a message's `images`, as it came, and its path.

    Raises:
        CandidateUnfit: It is no list.
    """
    images = message.get("images") or ()
    if not isinstance(images, (list, tuple)):
        raise unsupported(f"{where}.images: must be a list")
    for position, image in enumerate(images):
        yield image, f"{where}.images.{position}"


def image_of(given: Any, path: str) -> Image:
    """An image out of `images`: base64, or an object as chatq hands on images that a model made.

    Raises:
        CandidateUnfit: It is neither, or does not tell its type.
    """
    if isinstance(given, dict):
        return _image(given, path)
    if not isinstance(given, str):
        raise unsupported(f"{path}: an image must be base64 text")
    if given[:5].lower() == "data:":
        return _image({"image_url": given}, path)
    media_type = _media_type(given, path)
    return Image(f"data:{media_type};base64,{given}", given, media_type)


def text_of(message: Mapping[str, Any], where: str, wire: str) -> str:
    """The text of a message that may hold nothing else; parts are joined by line breaks.

    Raises:
        CandidateUnfit: It holds an image, or a part of another type.
    """
    texts = []
    for part in parts_of(message, where, wire):
        if isinstance(part, Image):
            raise unsupported(f"{where}: {wire} takes no images in {message['role']!r} messages")
        texts.append(part.text)
    return "\n".join(texts)


def _part(part: Mapping[str, Any], path: str, wire: str) -> Text | Image:
    if part["type"] == "text":
        return Text(str(part.get("text") or ""), part)
    if part["type"] == "image_url":
        return _image(part, path)
    raise unsupported(f"{path}: {wire} takes text and images, not {part['type'][:60]!r}")


def _image(part: Mapping[str, Any], path: str) -> Image:
    held = part.get("image_url")
    url = held.get("url") if isinstance(held, dict) else held
    if not isinstance(url, str) or not url:
        raise unsupported(f"{path}: image_url has no url")
    if url[:5].lower() != "data:":
        return Image(url, None, None, part)
    head, _, data = url[5:].partition(",")
    media_type, *rest = head.split(";")
    if "base64" not in rest:
        raise unsupported(f"{path}: a data: URL must be data:image/…;base64,…")
    return Image(url, data, media_type.lower() or _media_type(data, path), part)


def _media_type(data: str, path: str) -> str:
    for beginning, media_type in _MEDIA_TYPES.items():
        if data.startswith(beginning):
            return media_type
    raise unsupported(f"{path}: the image names no media type; send data:image/…;base64,…")
