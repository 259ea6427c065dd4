"""What every wire can do: read a chat call, and put an answer or a refusal into its own shape."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from simulator.answer import Answer
from simulator.config import RateHeaders
from simulator.demand import WORDS, Demand
from simulator.framing import Content, Request
from simulator.limits import Shortage
from simulator.notices import Dialect
from simulator.refusals import InvalidRequest, Refusal

_BEARER = b"Bearer "


@dataclass(slots=True)
class ChatCall:
    """A chat request, reduced to what the simulator needs of it."""

    model: str
    system: str
    """See `simulator.digest` for these two texts."""
    prompt: str
    cap_tokens: int | None
    """The request's limit on generated tokens."""
    is_stream: bool
    demand: Demand = WORDS
    images: int = 0
    includes_usage: bool = False
    """OpenAI's `stream_options.include_usage`."""
    is_array: bool = False
    """Gemini's stream without `alt=sse`: one JSON array."""
    is_cacheable: bool = False
    """Anthropic's `cache_control` stands somewhere; the other wires cache unasked."""


@dataclass(slots=True)
class PromptTokens:
    """What a prompt costs."""

    total: int
    shared: int = 0
    """The part that a prompt cache holds, in whole blocks."""
    is_repeat: bool = False
    """An earlier call had the same prompt, so the cache holds it by now."""

    @property
    def cached(self) -> int:
        """Tokens read from the cache, among the total."""
        return self.shared if self.is_repeat else 0


@dataclass(slots=True)
class Timing:
    """When an answer was made."""

    created_at: float
    """Unix seconds."""
    elapsed_s: float
    """Since the request was complete."""


class Wire(Protocol):
    """One provider API on one path."""

    name: str
    dialect: Dialect

    def key(self, request: Request) -> bytes | None:
        """The API key a request carries."""

    def parse(self, request: Request) -> ChatCall:
        """Read a request.

        Raises:
            InvalidRequest: What the provider refuses with status 400.
        """

    def answer(self, call: ChatCall, answer: Answer, prompt: PromptTokens, timing: Timing) -> Content:
        """A good answer, as one body or as a stream."""

    def answer_without_choice(self, call: ChatCall, timing: Timing) -> Content:
        """A well-formed answer that holds none."""

    def blocked(self, call: ChatCall, prompt: PromptTokens, timing: Timing) -> Content:
        """A well-formed answer that declines for reasons of safety."""

    def error_in_answer(self, call: ChatCall, begun: Sequence[bytes] = ()) -> Content:
        """An error object where an answer, or the rest of one, should be.

        Args:
            begun: A stream's pieces before it.
        """

    def invalid(self, message: str, field: str | None = None) -> Refusal:
        """400."""

    def no_key(self) -> Refusal:
        """The request carries no key."""

    def bad_key(self) -> Refusal:
        """The request's key is wrong."""

    def unknown_model(self, model: str) -> Refusal:
        """404."""

    def rate_limited(self, model: str, wait_s: float | None) -> Refusal:
        """429 with no limit behind it; a wire that states waits in the body states this one."""

    def quota_used_up(self) -> Refusal:
        """429 that no wait of minutes cures."""

    def no_money(self) -> Refusal:
        """402."""

    def short(self, model: str, shortage: Shortage, told: RateHeaders) -> Refusal:
        """An enforced limit ran out.

        Args:
            told: How much of it the settings let out.
        """

    def failed(self, status: int) -> Refusal:
        """500, 503 or 529."""


class CountingWire(Wire, Protocol):
    """A wire that counts a prompt's tokens without an answer."""

    def parse_count(self, request: Request) -> ChatCall:
        """Read a request to count.

        Raises:
            InvalidRequest: What the provider refuses with status 400.
        """

    def count(self, tokens: int) -> bytes:
        """The answer's body."""


def decode(body: bytes) -> dict[str, Any]:
    """The request body as a JSON object.

    Raises:
        InvalidRequest: It is none.
    """
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise InvalidRequest(f"the body is not JSON: {exc}") from None
    if not isinstance(data, dict):
        raise InvalidRequest("the body is not a JSON object")
    return data


def bearer(request: Request) -> bytes | None:
    """The key in the Authorization header."""
    value = request.headers.get(b"authorization", b"")
    return value.removeprefix(_BEARER) if value.startswith(_BEARER) else None


def is_base64(text: object) -> bool:
    """Whether this is non-empty base64 text, as image data has to be."""
    if not isinstance(text, str) or not text:
        return False
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True
