"""What a provider says about its limits, in header lines: what is left on good answers, the wait on a 429."""

from __future__ import annotations

import math

from simulator.config import RateHeaders
from simulator.durations import go_duration
from simulator.limits import Scopes

_KINDS = ("requests", "tokens")


def allowance_lines(style: RateHeaders, scopes: Scopes, now_s: float) -> bytes:
    """OpenAI's `x-ratelimit-*` lines, of the scope with the least left; empty in other styles or without a limit.

    With a slice below a minute, what is left is what is left of the slice.
    """
    if style != "openai":
        return b""
    lines = []
    for kind in _KINDS:
        buckets = [limiter.buckets[kind] for limiter in scopes if kind in limiter.buckets]
        if buckets:
            bucket = min(buckets, key=lambda bucket: bucket.remaining(now_s))
            lines.append(f"x-ratelimit-limit-{kind}: {bucket.limit}\r\n")
            lines.append(f"x-ratelimit-remaining-{kind}: {bucket.remaining(now_s)}\r\n")
            lines.append(f"x-ratelimit-reset-{kind}: {go_duration(bucket.full_in_s(now_s))}\r\n")
    return "".join(lines).encode()


def wait_lines(style: RateHeaders, wait_s: float) -> bytes:
    """A refusal's wait: whole seconds rounded up; in OpenAI's style exact milliseconds, rounded up, beside them."""
    if style == "none":
        return b""
    lines = b"retry-after: %d\r\n" % math.ceil(wait_s)
    return lines + b"retry-after-ms: %d\r\n" % math.ceil(wait_s * 1000) if style == "openai" else lines
