"""Rate and concurrency limits, enforced as a provider does.

Requests and tokens per minute are buckets: full at the start, refilled evenly, so a burst of a whole minute's
allowance passes and the average holds. A call is charged what it will really use, once, when it is admitted; a
refused call is charged nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_MINUTE_S = 60.0
_BUSY_RETRY_S = 1.0
"""What a call over the concurrency limit is told to wait: nobody knows when a slot frees."""
_DUST = 1e-9
"""A bucket this short of what is asked is full enough: waiting exactly `wait_s` must be enough."""


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why a call was not admitted."""

    kind: str
    """`requests`, `tokens` or `concurrency`."""
    limit: int
    used: int
    requested: int
    wait_s: float | None
    """Until it would be admitted; None: never, it is larger than the limit."""


class _Bucket:
    """An allowance per minute that refills evenly up to its size."""

    def __init__(self, size: int, now_s: float) -> None:
        self.size = size
        self._level = float(size)
        self._at_s = now_s

    def level(self, now_s: float) -> float:
        elapsed_s = max(0.0, now_s - self._at_s)
        self._level = min(self.size, self._level + elapsed_s * self.size / _MINUTE_S)
        self._at_s = now_s
        return self._level

    def take(self, amount: int) -> None:
        self._level = max(0.0, self._level - amount)

    def refill_s(self, missing: float) -> float:
        return max(0.0, missing) * _MINUTE_S / self.size

    def shortage(self, kind: str, amount: int, now_s: float) -> Shortage | None:
        level = self.level(now_s)
        if level + _DUST >= amount:
            return None
        wait_s = self.refill_s(amount - level) if amount <= self.size else None
        return Shortage(kind, self.size, self.size - math.floor(level), amount, wait_s)


class Limiter:
    """The limits of one account, shared by all calls. Times are seconds on any steady clock."""

    def __init__(self) -> None:
        self.in_flight = 0
        """Calls admitted and not yet released."""
        self._concurrency: int | None = None
        self._buckets: dict[str, _Bucket] = {}

    def set(self, *, rpm: int | None, tpm: int | None, concurrency: int | None, now_s: float) -> None:
        """Put limits in place. A bucket whose size stays keeps its level; a new one starts full."""
        self._concurrency = concurrency
        sizes = {"requests": rpm, "tokens": tpm}
        kept = {kind: bucket for kind, bucket in self._buckets.items() if sizes[kind] == bucket.size}
        self._buckets = {
            kind: kept.get(kind) or _Bucket(size, now_s) for kind, size in sizes.items() if size is not None
        }

    def refill(self, now_s: float) -> None:
        """Fill the buckets. Calls in flight keep their slots."""
        self._buckets = {kind: _Bucket(bucket.size, now_s) for kind, bucket in self._buckets.items()}

    def admit(self, tokens: int, now_s: float) -> Shortage | None:
        """Charge one call and take a slot, or say what is short and change nothing.

        Args:
            tokens: Prompt plus output tokens of the call.
        """
        if self._concurrency is not None and self.in_flight >= self._concurrency:
            return Shortage("concurrency", self._concurrency, self.in_flight, 1, _BUSY_RETRY_S)
        if self._buckets:
            amounts = {"requests": 1, "tokens": tokens}
            for kind, bucket in self._buckets.items():
                shortage = bucket.shortage(kind, amounts[kind], now_s)
                if shortage is not None:
                    return shortage
            for kind, bucket in self._buckets.items():
                bucket.take(amounts[kind])
        self.in_flight += 1
        return None

    def release(self) -> None:
        """Give an admitted call's slot back."""
        self.in_flight -= 1

    def headers(self, now_s: float) -> bytes:
        """OpenAI's `x-ratelimit-*` lines for the limits that are set; empty without one."""
        lines = []
        for kind, bucket in self._buckets.items():
            level = bucket.level(now_s)
            reset = go_duration(bucket.refill_s(bucket.size - level))
            lines.append(f"x-ratelimit-limit-{kind}: {bucket.size}\r\n")
            lines.append(f"x-ratelimit-remaining-{kind}: {math.floor(level + _DUST)}\r\n")
            lines.append(f"x-ratelimit-reset-{kind}: {reset}\r\n")
        return "".join(lines).encode()


def retry_after(wait_s: float) -> bytes:
    """OpenAI's two wait headers: whole seconds rounded up, and exact milliseconds rounded up."""
    return b"retry-after: %d\r\nretry-after-ms: %d\r\n" % (math.ceil(wait_s), math.ceil(wait_s * 1000))


def go_duration(duration_s: float) -> str:
    """A duration as Go prints it, to the millisecond: `0s`, `12ms`, `1.5s`, `6m0s`, `1h2m3s`."""
    total_ms = math.ceil(duration_s * 1000 - _DUST)
    if total_ms < 1000:
        return f"{total_ms}ms" if total_ms else "0s"
    minutes, rest_ms = divmod(total_ms, 60_000)
    seconds = f"{rest_ms / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if not minutes:
        return seconds
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{seconds}" if hours else f"{minutes}m{seconds}"
