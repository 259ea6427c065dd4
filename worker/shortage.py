"""What ran out behind a rate limit, and the limit that the answer names for it. Pure.

The names and the numbers are the provider's; they correct what chatq believes (docs/provider-wire.md §6, §7, §9).
"""

from __future__ import annotations

import re

from shared.errors import Dimension
from shared.observed_limits import ObservedLimits

_NOT_A_MINUTES = re.compile(r"\b(rpd|tpd|rps)\b|per (day|hour|second)")
"""A number beside one of these is not a limit per minute."""

_NAMED: tuple[tuple[re.Pattern[str], Dimension], ...] = (
    (re.compile("concurren"), "concurrency"),
    (re.compile(r"\b(tpm|tpd)\b|tokens per |token rate|^type=tokens$", re.MULTILINE), "tokens"),
    (re.compile(r"\b(rpm|rpd|rps)\b|requests per |^type=requests$", re.MULTILINE), "requests"),
)

_NUMBER = r"[: ]{1,2}([0-9][0-9,]{0,17})"
_LIMITS: dict[Dimension, re.Pattern[str]] = {
    "concurrency": re.compile(rf"concurrency(?: limit of)?{_NUMBER}"),
    "tokens": re.compile(rf"\blimit{_NUMBER}"),
    "requests": re.compile(rf"\b(?:rpm|limit){_NUMBER}"),
}
"""`concurrency limit of 39`, `max organization concurrency: 50`, `max RPM: 3`, `(TPM): Limit 30,000`."""


def dimension_of(words: str, observed: ObservedLimits | None) -> Dimension | None:
    """What ran out: the empty bucket of the headers, else what the words name; None if neither says.

    Args:
        words: `ErrorAnswer.words`.
        observed: The limits in the answer's headers.
    """
    if observed is not None and observed.remaining_requests == 0:
        return "requests"
    if observed is not None and observed.remaining_tokens == 0:
        return "tokens"
    return next((dimension for pattern, dimension in _NAMED if pattern.search(words)), None)


def limit_of(dimension: Dimension, words: str, observed: ObservedLimits | None) -> int | None:
    """The limit that the answer names: requests or tokens per minute, or calls at the same time.

    Args:
        dimension: What ran out.
        words: `ErrorAnswer.words`.
        observed: The limits in the answer's headers; they are preferred to the words.
    """
    if observed is not None and dimension != "concurrency":
        stated = observed.limit_requests if dimension == "requests" else observed.limit_tokens
        if stated is not None:
            return stated
    if dimension != "concurrency" and _NOT_A_MINUTES.search(words):
        return None
    found = _LIMITS[dimension].search(words)
    return int(found[1].replace(",", "")) if found else None
