"""Options of a chat call that OpenAI's request has no field for: headers, which clients can set without code.

`OPENAI_CUSTOM_HEADERS` sends them from the official clients (docs/openai-wire.md §2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from producer.api.errors import ApiError
from producer.api.operation import Param
from shared.duration import read_duration
from shared.job import Lane

LANES_OF_TIERS = {"flex": Lane.BATCH, "priority": Lane.INTERACTIVE, "fast": Lane.INTERACTIVE}
"""OpenAI's only word for urgency (`service_tier`), as a lane; the others say nothing."""

_WAIT = re.compile(r"\s*wait\s*=\s*([0-9]{1,6})\s*")


@dataclass(frozen=True, slots=True)
class Options:
    """How a call is to be run.

    Attributes:
        expires_in_s: No call to a provider starts later than this; None = the setting.
        tags: For the rules of groups.
        source: Label for the provider's log and for telemetry.
    """

    lane: Lane
    expires_in_s: float | None
    tags: tuple[str, ...]
    source: str | None


@dataclass(frozen=True, slots=True)
class Preference:
    """How long the caller wants to wait (RFC 7240).

    Attributes:
        wait_s: Seconds until the job's address will do; None = as long as it takes.
    """

    wait_s: float | None


HEADERS = (
    Param("X-Chatq-Lane", "header", {"type": "string", "enum": list(Lane)}, "Lane of the job"),
    Param("X-Chatq-Deadline", "header", {"type": "string"}, "Not sent later than this: 90, 90s, 30m, 2h, 1d"),
    Param("X-Chatq-Tags", "header", {"type": "string"}, "Tags for the rules of groups, with commas between"),
    Param("X-Source", "header", {"type": "string"}, "Label sent to the provider (also: X-Boo-Source)"),
    Param("Idempotency-Key", "header", {"type": "string"}, "Same key and same body: the same object"),
)
"""For the documentation of every operation that makes jobs."""

PREFER = Param("Prefer", "header", {"type": "string"}, "respond-async, or wait=SECONDS")


def read_options(headers: Mapping[str, str], body: Mapping[str, Any], default: Lane) -> Options:
    """The options of a call; the lane is the header's, else what `service_tier` says, else the default.

    Raises:
        ApiError: 400; a header is wrong.
    """
    deadline = headers.get("x-chatq-deadline")
    tags = headers.get("x-chatq-tags", "")
    return Options(
        _lane(headers.get("x-chatq-lane"), body.get("service_tier"), default),
        None if deadline is None else _seconds(deadline),
        tuple(tag.strip() for tag in tags.split(",") if tag.strip()),
        headers.get("x-source", headers.get("x-boo-source")),
    )


def read_preference(headers: Mapping[str, str]) -> Preference:
    """What `Prefer` says; what is not understood there is ignored, as RFC 7240 wants."""
    wait_s = None
    for part in headers.get("prefer", "").split(","):
        if part.strip().lower() == "respond-async" and wait_s is None:
            wait_s = 0.0
        elif match := _WAIT.fullmatch(part.lower()):
            wait_s = float(match[1])
    return Preference(wait_s)


def _lane(stated: str | None, tier: Any, default: Lane) -> Lane:
    if stated is None:
        return LANES_OF_TIERS.get(tier, default) if isinstance(tier, str) else default
    try:
        return Lane(stated.strip().lower())
    except ValueError:
        allowed = ", ".join(Lane)
        raise ApiError(400, f"X-Chatq-Lane: must be one of {allowed}", param="X-Chatq-Lane") from None


def _seconds(text: str) -> float:
    seconds = read_duration(text.strip())
    if seconds is None:
        raise ApiError(400, "X-Chatq-Deadline: write 90s, 30m, 2h or 1d", param="X-Chatq-Deadline")
    return seconds
