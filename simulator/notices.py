"""What a provider says about its limits, in header lines: what is left on good answers, the wait on a 429."""

from __future__ import annotations

import enum
import math
import time

from simulator.buckets import Bucket
from simulator.config import RateHeaders
from simulator.durations import go_duration
from simulator.limits import Scopes
from simulator.timestamps import rfc3339_second

_KINDS = ("requests", "tokens")


class Dialect(enum.Enum):
    """Whose headers a wire writes."""

    OPENAI = enum.auto()
    ANTHROPIC = enum.auto()
    GOOGLE = enum.auto()
    """None at all: Gemini states the wait in the error's body."""


def allowance_lines(style: RateHeaders, dialect: Dialect, scopes: Scopes, now_s: float) -> bytes:
    """What is left, of the scope with the least left; empty unless all is told, or without a limit.

    With a slice below a minute, what is left is what is left of the slice.
    """
    if style != "openai" or dialect is Dialect.GOOGLE:
        return b""
    write = _anthropic_lines if dialect is Dialect.ANTHROPIC else _openai_lines
    lines = []
    for kind in _KINDS:
        buckets = [limiter.buckets[kind] for limiter in scopes if kind in limiter.buckets]
        if buckets:
            lines.append(write(kind, min(buckets, key=lambda bucket: bucket.remaining(now_s)), now_s))
    return "".join(lines).encode()


def wait_lines(style: RateHeaders, dialect: Dialect, wait_s: float) -> bytes:
    """A refusal's wait in whole seconds rounded up; OpenAI's dialect adds milliseconds, rounded up."""
    if style == "none" or dialect is Dialect.GOOGLE:
        return b""
    lines = b"retry-after: %d\r\n" % math.ceil(wait_s)
    if style == "openai" and dialect is Dialect.OPENAI:
        lines += b"retry-after-ms: %d\r\n" % math.ceil(wait_s * 1000)
    return lines


def stated_wait(dialect: Dialect, wait_s: float) -> bytes:
    """The wait of the fault `429`, to the letter."""
    return b"" if dialect is Dialect.GOOGLE else f"retry-after: {wait_s:g}\r\n".encode()


def _openai_lines(kind: str, bucket: Bucket, now_s: float) -> str:
    return (
        f"x-ratelimit-limit-{kind}: {bucket.limit}\r\n"
        f"x-ratelimit-remaining-{kind}: {bucket.remaining(now_s)}\r\n"
        f"x-ratelimit-reset-{kind}: {go_duration(bucket.full_in_s(now_s))}\r\n"
    )


def _anthropic_lines(kind: str, bucket: Bucket, now_s: float) -> str:
    full_at = rfc3339_second(math.ceil(time.time() + bucket.full_in_s(now_s)))
    return (
        f"anthropic-ratelimit-{kind}-limit: {bucket.limit}\r\n"
        f"anthropic-ratelimit-{kind}-remaining: {bucket.remaining(now_s)}\r\n"
        f"anthropic-ratelimit-{kind}-reset: {full_at}\r\n"
    )
