"""Why something waits, in words."""

from __future__ import annotations

import time

from producer.cli.times import moment
from shared.job import WaitReason
from shared.store.waiting import Hold

REASONS = {
    WaitReason.READY: "ready, waits for its turn",
    WaitReason.BACKOFF: "waits after a failed attempt",
    WaitReason.RATE_LIMITED: "rate limited",
    WaitReason.CONCURRENCY: "as many calls run as may",
    WaitReason.COOLDOWN: "closed, as the provider asked",
    WaitReason.BREAKER: "breaker open: too many calls failed",
    WaitReason.CREDENTIALS: "closed: credentials refused",
    WaitReason.QUOTA: "closed: quota used up",
    WaitReason.QUARANTINE: "in quarantine: its workers died",
    WaitReason.NO_WORKER: "no worker serves its queue",
    WaitReason.SUSPENDED: "all workers are suspended",
}

_UNITS = {"rpm": "rpm", "tpm": "tpm", "concurrency": "calls at a time"}

OPERATOR_ACTS = (WaitReason.CREDENTIALS, WaitReason.QUOTA)


SOON_S = 1.5
"""An end as near as this is over before it is read."""


def reason(why: WaitReason, until: float | None) -> str:
    """A reason, and when it ends unless that is at once."""
    if until is None or until - time.time() < SOON_S:
        return REASONS[why]
    return f"{REASONS[why]} until {moment(until)}"


def describe(hold: Hold) -> str:
    """What stands in the way, in one line."""
    if hold.dimension == "probes":
        return f"{hold.scope}: {REASONS[hold.reason]}; being tried, {hold.limit:,.0f} calls at a time"
    if hold.dimension in _UNITS and hold.limit is not None:
        return f"{hold.scope}: at its limit of {hold.limit:,.0f} {_UNITS[hold.dimension]}"
    text = f"{hold.scope}: {reason(hold.reason, hold.until)}"
    if hold.reason in OPERATOR_ACTS:
        text += f"; once mended: chatq limits open {hold.scope}"
    return text
