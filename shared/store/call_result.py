"""What one call showed, on its way into the ledger: tokens, the upstream's health, what it asked us to wait for."""

from __future__ import annotations

import struct
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


_PACKED = struct.Struct(">qqqqqB")
_VERDICTS: dict[Verdict, int] = {"good": 1, "bad": 2, "limited": 3, "refused": 4, "dropped": 5}
_UNSAID: dict[Verdict, str] = {"good": "ok", "bad": "", "limited": "", "refused": "", "dropped": ""}
"""How a call has ended of which only the verdict is written."""

_UNKNOWN_COST, _NO_COST = -1, -2
_MOST = 2**53
"""More is no sum of money, and no whole number in Lua."""


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
        cost_usd: As the provider states it or the catalogue computes it; None: not known, or nothing to pay.
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
        verdict, blame, observed = self.verdict, self.blame, self.observed
        prompt, output = self.prompt_tokens, self.output_tokens
        packed = _PACKED.pack(
            self.reserved,
            -1 if prompt is None else prompt,
            -1 if output is None else output,
            int(self.sent_at * 1000),
            self._micro_usd(),
            _VERDICTS[verdict],
        )
        if blame is None and observed is None and self.ended == _UNSAID[verdict]:
            return packed
        limits = (
            "" if observed is None else ",".join("" if value is None else str(value) for value in observed)
        )
        about = b"" if blame is None else orjson.dumps(blame.as_dict())
        return b"%b%b\n%b\n%b" % (packed, self.ended.encode(), limits.encode(), about)

    def _micro_usd(self) -> int:
        if self.cost_usd is not None:
            return min(round(self.cost_usd * 1e6), _MOST)
        return _UNKNOWN_COST if self.is_billed else _NO_COST
