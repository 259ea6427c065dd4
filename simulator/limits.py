"""Rate and concurrency limits of an account and of its models, enforced as a provider does.

A call is charged once, when it is admitted, by every limit that applies to it; a refused call is charged nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from simulator.buckets import Bucket
from simulator.config import LimitSettings

_BUSY_RETRY_S = 1.0
"""What a call over the concurrency limit is told to wait: nobody knows when a slot frees."""


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


class Limiter:
    """The limits of one account or model. Times are seconds on any steady clock."""

    def __init__(self) -> None:
        self.in_flight = 0
        """Calls admitted and not yet released."""
        self.buckets: dict[str, Bucket] = {}
        """By kind: `requests`, `tokens`."""
        self._concurrency: int | None = None

    def set(self, limits: LimitSettings, slice_s: float, now_s: float) -> None:
        """Put limits in place. A limit that was there keeps what is left of it; a new one starts full."""
        self._concurrency = limits.concurrency
        for kind, limit in (("requests", limits.rpm), ("tokens", limits.tpm)):
            if limit is None:
                self.buckets.pop(kind, None)
            elif kind in self.buckets:
                self.buckets[kind].change(limit, slice_s, now_s)
            else:
                self.buckets[kind] = Bucket(limit, slice_s, now_s)

    def refill(self, now_s: float) -> None:
        """Fill the buckets. Calls in flight keep their slots."""
        for bucket in self.buckets.values():
            bucket.fill(now_s)

    def shortages(self, tokens: int, now_s: float) -> list[Shortage]:
        """What keeps a call of so many tokens out; empty when nothing does."""
        found = []
        if self._concurrency is not None and self.in_flight >= self._concurrency:
            found.append(Shortage("concurrency", self._concurrency, self.in_flight, 1, _BUSY_RETRY_S))
        for kind, bucket in self.buckets.items():
            amount = tokens if kind == "tokens" else 1
            wait_s = bucket.wait_s(amount, now_s)
            if wait_s != 0:
                used = bucket.limit - bucket.remaining(now_s)
                found.append(Shortage(kind, bucket.limit, used, amount, wait_s))
        return found

    def charge(self, tokens: int) -> None:
        """Take a slot, a request and the tokens of a call that nothing keeps out."""
        self.in_flight += 1
        for kind, bucket in self.buckets.items():
            bucket.take(tokens if kind == "tokens" else 1)

    def release(self) -> None:
        """Give an admitted call's slot back."""
        self.in_flight -= 1


Scopes = tuple[Limiter, ...]
"""The limiters that apply to a call: its account's, and its model's if the model has limits of its own."""


class AccountLimits:
    """The limits of an account and of its models."""

    def __init__(self) -> None:
        self.account = Limiter()
        self._scopes: dict[str, Scopes] = {}

    def set(
        self, account: LimitSettings, models: Mapping[str, LimitSettings], slice_s: float, now_s: float
    ) -> None:
        """Put limits in place. A model's calls count from the moment on at which it has a limit."""
        self.account.set(account, slice_s, now_s)
        self._scopes = {model: self._scopes.get(model) or (self.account, Limiter()) for model in models}
        for model, limits in models.items():
            self._scopes[model][-1].set(limits, slice_s, now_s)

    def refill(self, now_s: float) -> None:
        """Fill all buckets. Calls in flight keep their slots."""
        self.account.refill(now_s)
        for scopes in self._scopes.values():
            scopes[-1].refill(now_s)

    def scopes(self, model: str) -> Scopes:
        """What applies to this model's calls."""
        return self._scopes.get(model) or (self.account,)


def admit(scopes: Scopes, tokens: int, now_s: float) -> Shortage | None:
    """Charge a call to all scopes, or say what is short for longest and change nothing."""
    shortages = [shortage for limiter in scopes for shortage in limiter.shortages(tokens, now_s)]
    if shortages:
        return max(shortages, key=_wait_s)
    for limiter in scopes:
        limiter.charge(tokens)
    return None


def _wait_s(shortage: Shortage) -> float:
    return math.inf if shortage.wait_s is None else shortage.wait_s
