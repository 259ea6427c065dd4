"""What every wire can do: read a chat call, and put an answer or a refusal into its own shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from simulator.answer import Answer
from simulator.framing import Content
from simulator.limits import Shortage


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
    includes_usage: bool = False
    """OpenAI's `stream_options.include_usage`."""


@dataclass(slots=True)
class Timing:
    """When an answer was made."""

    created_at: float
    """Unix seconds."""
    elapsed_s: float
    """Since the request was complete."""


@dataclass(slots=True)
class Refusal:
    """A call that gets no answer: a status and an error body in the wire's shape."""

    status: int
    body: bytes
    headers: bytes = b""
    """Further header lines, each ending in CRLF."""


class RefusedCall(Exception):
    """The request itself is wrong; carries the refusal to send."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.status)
        self.refusal = refusal


class Wire(Protocol):
    """One provider API on one path."""

    name: str

    def parse(self, body: bytes) -> ChatCall:
        """Read a request body.

        Raises:
            RefusedCall: 400, with what is wrong.
        """

    def answer(self, call: ChatCall, answer: Answer, prompt_tokens: int, timing: Timing) -> Content:
        """A good answer, as one body or as a stream."""

    def answer_without_choice(self, call: ChatCall, timing: Timing) -> Content:
        """A well-formed answer that holds none."""

    def error_in_answer(self, call: ChatCall) -> Content:
        """An error object where an answer should be."""

    def invalid(self, message: str) -> Refusal:
        """400."""

    def bad_key(self) -> Refusal:
        """401."""

    def unknown_model(self, model: str) -> Refusal:
        """404."""

    def rate_limited(self, model: str) -> Refusal:
        """429 with no limit behind it."""

    def quota_used_up(self) -> Refusal:
        """429 that no wait of minutes cures."""

    def no_money(self) -> Refusal:
        """402."""

    def short(self, model: str, shortage: Shortage, *, states_wait: bool) -> Refusal:
        """An enforced limit ran out."""

    def failed(self, status: int) -> Refusal:
        """500, 503 or 529."""


def decode(wire: Wire, body: bytes) -> dict[str, Any]:
    """The request body as a JSON object.

    Raises:
        RefusedCall: It is none.
    """
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise RefusedCall(wire.invalid(f"the body is not JSON: {exc}")) from None
    if not isinstance(data, dict):
        raise RefusedCall(wire.invalid("the body is not a JSON object"))
    return data
