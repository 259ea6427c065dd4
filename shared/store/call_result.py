"""What one call showed, on its way into the ledger: tokens, the upstream's health, what it asked us to wait for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import orjson

from shared.errors import Dimension, Scope
from shared.observed_limits import ObservedLimits

Verdict = Literal["good", "bad", "limited", "refused", "dropped"]
"""`bad`: a failure of the upstream, which the breaker counts. `limited`: turned away by a limit. `refused`: no
answer, which says nothing about the upstream's health. `dropped`: by us, in the middle."""

BlameKind = Literal["failure", "rate", "quota", "credentials"]
"""Why something is blamed: `rate` closes its scope for a while, `quota` and `credentials` open its breaker."""


@dataclass(frozen=True, slots=True)
class Blame:
    """What a failed call speaks of, and for how long it is to be left alone.

    Attributes:
        wait_s: The wait the upstream stated, or None.
        own_wait_s: First and longest wait where it stated none; doubles from episode to episode.
        dimension: Which limit ran out, if that was said.
        limit: What the upstream says that limit is.
    """

    scope: Scope
    kind: BlameKind
    wait_s: float | None = None
    own_wait_s: tuple[float, float] = (1.0, 60.0)
    dimension: Dimension | None = None
    limit: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """As `lua/lib/results.lua` reads it."""
        first_s, longest_s = self.own_wait_s
        fields: dict[str, Any] = {
            "scope": self.scope,
            "kind": self.kind,
            "wait_ms": -1 if self.wait_s is None else round(self.wait_s * 1000),
            "own_ms": round(first_s * 1000),
            "own_max_ms": round(longest_s * 1000),
        }
        if self.dimension:
            fields["dimension"] = self.dimension
        if self.limit:
            fields["limit"] = self.limit
        return fields


class CallResult(NamedTuple):
    """What one call showed.

    Attributes:
        reserved: Tokens that the claim booked for it.
        sent_at: When it was granted, Unix seconds on Redis's clock: later than that nothing was known of a closure.
        prompt_tokens: Drawn, or None if the upstream did not say.
        output_tokens: The same.
        observed: Limits in the answer's headers.
        blame: What a call that was not answered speaks of.
        ended: `ok` or the class of the error (`worker/events.py`), for the counters; empty = no call was made.
        cost_usd: As the provider states it, or None.
        is_billed: Whether it may be charged for, so that a cost not stated counts as unknown.
    """

    reserved: int
    sent_at: float
    verdict: Verdict
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    observed: ObservedLimits | None = None
    blame: Blame | None = None
    ended: str = ""
    cost_usd: float | None = None
    is_billed: bool = False

    def encode(self) -> bytes:
        """As `lua/lib/results.lua` reads it."""
        prompt = -1 if self.prompt_tokens is None else self.prompt_tokens
        output = -1 if self.output_tokens is None else self.output_tokens
        cost = (
            b"%d" % round(self.cost_usd * 1e6)
            if self.cost_usd is not None
            else b"?"
            if self.is_billed
            else b"-"
        )
        words = b"%d %d %d %d %s %s %s " % (
            self.reserved,
            prompt,
            output,
            self.sent_at * 1000,
            self.verdict.encode(),
            self.ended.encode() or b"-",
            cost,
        )
        if self.observed is not None:
            words += ",".join("" if value is None else str(value) for value in self.observed).encode()
        if self.blame is not None:
            words += b"\n" + orjson.dumps(self.blame.as_dict())
        return words
