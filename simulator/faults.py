"""The faults a provider can show, which of them strikes a call, and the model names that ask for one.

A model name can force the behaviour of its own calls, whatever the settings say. Its last path segment, tag left
out, is then `sim` followed by one or more of `-fault-NAME`, `-first-N` and `-latency-SECONDS`, in this order:
`sim-fault-500`, `sim-latency-0.2`, `sim-fault-reset-first-1-latency-0.05`, `vendor/sim-fault-html:free`.
`-first-N` lets the fault strike only the first N calls of each distinct request.
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass


class Fault(enum.StrEnum):
    """One way in which a call goes wrong, seen from the client."""

    RATE_LIMITED = "429"
    RATE_LIMITED_BARE = "429-bare"
    QUOTA = "429-quota"
    NO_MONEY = "402"
    UNKNOWN_MODEL = "404-model"
    SERVER_ERROR = "500"
    OVERLOADED = "503"
    SITE_OVERLOADED = "529"
    BAD_KEY = "bad-key"
    RESET = "reset"
    RESET_MID = "reset-mid"
    TRUNCATE = "truncate"
    MALFORMED = "malformed"
    DEEP_JSON = "deep-json"
    HTML = "html"
    EMPTY = "empty"
    NO_CHOICES = "no-choices"
    ERROR_200 = "error-200"
    TRICKLE = "trickle"
    HANG = "hang"
    HANG_AFTER_HEADERS = "hang-after-headers"
    OVERSIZE = "oversize"
    GZIP_BOMB = "gzip-bomb"
    BLOCKED = "blocked"
    ERROR_MID = "error-mid"
    STALL = "stall"


FAULT_TEXTS: dict[Fault, str] = {
    Fault.RATE_LIMITED: "429 with Retry-After, at once",
    Fault.RATE_LIMITED_BARE: "429 that names no wait, at once",
    Fault.QUOTA: "429 that no wait cures, used-up quota, at once",
    Fault.NO_MONEY: "402, at once",
    Fault.UNKNOWN_MODEL: "404 that does not know the model, at once",
    Fault.SERVER_ERROR: "500",
    Fault.OVERLOADED: "503",
    Fault.SITE_OVERLOADED: "529",
    Fault.BAD_KEY: "401, at once",
    Fault.RESET: "connection reset before any byte of the answer",
    Fault.RESET_MID: "half the body, then a reset",
    Fault.TRUNCATE: "half the announced body, then a close",
    Fault.MALFORMED: "200 with broken JSON",
    Fault.DEEP_JSON: "200 with JSON nested 100,000 deep",
    Fault.HTML: "200 with an HTML page",
    Fault.EMPTY: "200 with an empty body",
    Fault.NO_CHOICES: "200 with no choice and no message",
    Fault.ERROR_200: "200 with an error object",
    Fault.TRICKLE: "headers, then the body one byte at a time",
    Fault.HANG: "nothing until the client gives up",
    Fault.HANG_AFTER_HEADERS: "headers, then nothing until the client gives up",
    Fault.OVERSIZE: "a body above a configured size",
    Fault.GZIP_BOMB: "a small body that unpacks to above that size",
    Fault.BLOCKED: "200 that declines for reasons of safety",
    Fault.ERROR_MID: "half a stream, then an error object; as error-200 without a stream",
    Fault.STALL: "half the body, then nothing until the client gives up",
}

AT_ONCE = frozenset(
    (
        Fault.RATE_LIMITED,
        Fault.RATE_LIMITED_BARE,
        Fault.QUOTA,
        Fault.NO_MONEY,
        Fault.UNKNOWN_MODEL,
        Fault.BAD_KEY,
    )
)
"""A provider's front door refuses these without running the model, so latency does not apply."""

WITH_ANSWER = frozenset(
    (Fault.RESET_MID, Fault.TRUNCATE, Fault.TRICKLE, Fault.HANG_AFTER_HEADERS, Fault.STALL, Fault.OVERSIZE)
)
"""The answer was generated, and only its delivery goes wrong: its tokens were spent."""


@dataclass(frozen=True, slots=True)
class Directive:
    """What a model name asks for; None leaves it to the settings."""

    fault: Fault | None = None
    first: int | None = None
    """Strike only this many calls of each distinct request."""
    latency_s: float | None = None

    def strikes(self, occurrence: int) -> Fault | None:
        """The fault for the call with this many earlier calls of the same request."""
        return None if self.first is not None and occurrence >= self.first else self.fault


_NAMES = "|".join(sorted((re.escape(fault) for fault in Fault), key=len, reverse=True))
_DIRECTIVE = re.compile(
    rf"sim(?:-fault-(?P<fault>{_NAMES})(?:-first-(?P<first>\d{{1,9}}))?)?"
    r"(?:-latency-(?P<latency>\d{1,6}(?:\.\d{1,9})?))?"
)


@functools.lru_cache(maxsize=4096)
def directive_in(model: str) -> Directive | None:
    """What the model name forces, or None for an ordinary name.

    Raises:
        ValueError: The name starts like a directive but is none; a typo must not turn into a good answer.
    """
    segment = model.rpartition("/")[2].partition(":")[0]
    if not segment.startswith(("sim-fault-", "sim-latency-")):
        return None
    match = _DIRECTIVE.fullmatch(segment)
    if match is None:
        raise ValueError(
            f"model {model!r} is no directive: use sim-fault-NAME[-first-N][-latency-SECONDS] or "
            f"sim-latency-SECONDS, where NAME is one of {', '.join(Fault)}"
        )
    fault, first, latency = match["fault"], match["first"], match["latency"]
    return Directive(
        Fault(fault) if fault else None,
        int(first) if first else None,
        float(latency) if latency else None,
    )


def choose_fault(mix: Mapping[Fault, float], draw: float) -> Fault | None:
    """The fault on which a uniform draw falls when each takes its probability's share of [0, 1)."""
    edge = 0.0
    for fault, probability in mix.items():
        edge += probability
        if draw < edge:
            return fault
    return None
