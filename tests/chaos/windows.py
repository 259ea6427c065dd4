"""I7: what passed at an upstream, or for a client, in every window of time, against the limits.

Limits are on grants, and from outside only arrivals are seen. A call was granted at most `JITTER_S` before it
arrived or, where a declared delay held it up, since that began: its span. A window holds the calls whose spans lie
in it as a whole: those were surely granted there, however late they came. So a delay excuses its own calls only,
and those in shorter windows only.

Where Redis lost the ledger, as declared, nothing is said; windows before and after it count.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from tests.chaos.evidence import Call, Declared, Delay, Evidence, Limit, Orphans

JITTER_S = 0.1
"""How much later than its grant a call may arrive when nothing was declared."""

WINDOWS_S = (1.0, 10.0, 60.0)

MINUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class Span:
    """A call was granted between these moments, and weighs so much. Unix seconds."""

    since: float
    until: float
    weight: int


def limits_broken(evidence: Evidence) -> Iterator[str]:
    """What was over a limit, a line each."""
    for limit in evidence.limits:
        calls = evidence.calls_under(limit)
        for since, until in booked_times(evidence.declared):
            yield from rates_broken(limit, calls, evidence.declared.delays, since=since, until=until)
            most = most_at_once(calls, evidence.declared.orphans, since=since, until=until)
            if limit.concurrency is not None and most > limit.concurrency:
                yield f"{limit.name}: {most} calls at once, limit {limit.concurrency}"
        if limit.upstream is not None:
            yield from refusals(limit.upstream, calls, evidence.declared)


def booked_times(declared: Declared) -> list[tuple[float, float]]:
    """From when to when somebody knew what was booked."""
    edges = [-math.inf, *(at for lost in sorted(declared.ledger_lost) for at in lost), math.inf]
    return list(zip(edges[::2], edges[1::2], strict=True))


# -- requests and tokens --------------------------------------------------------------------------


def one_request(call: Call) -> int:
    return 1


def drawn_tokens(call: Call) -> int:
    """What the upstream charged; nothing for what it turned away with an error."""
    return call.charged_tokens if call.status is None or call.status in (200, 499) else 0


def rates(limit: Limit) -> Iterator[tuple[str, int, Callable[[Call], int]]]:
    """The limits by the minute: name, number, and what a call weighs."""
    if limit.rpm is not None:
        yield "requests", limit.rpm, one_request
    if limit.tpm is not None:
        yield "tokens", limit.tpm, drawn_tokens


def rates_broken(
    limit: Limit,
    calls: Sequence[Call],
    delays: Iterable[Delay] = (),
    *,
    since: float = -math.inf,
    until: float = math.inf,
) -> Iterator[str]:
    """Windows in a stretch of time that held more requests or tokens than the limit and one burst, a line each."""
    latest_first = latest_ended_first(delays)
    for what, per_minute, weigh in rates(limit):
        spans = [Span(granted_since(call, latest_first), call.arrived_at, weigh(call)) for call in calls]
        known = [span for span in spans if span.since >= since and span.until <= until]
        largest = max((span.weight for span in known), default=0)
        for window_s in WINDOWS_S:
            length_s = window_s + JITTER_S
            allowed = per_minute * (length_s + limit.slice_s) / (MINUTE_S + limit.slice_s) + largest
            found = fullest(known, length_s)
            if found > allowed:
                yield f"{limit.name}: {found} {what} in {window_s:g} s, at most {allowed:.0f} are allowed"


def latest_ended_first(delays: Iterable[Delay]) -> list[Delay]:
    return sorted(delays, key=lambda delay: delay.until, reverse=True)


def granted_since(call: Call, latest_first: Iterable[Delay]) -> float:
    """The earliest moment at which a call can have been granted; one delay may have followed on another."""
    since = call.arrived_at - JITTER_S
    for delay in latest_first:
        if delay.until < since:
            break
        if delay.worker in (None, call.source):
            since = min(since, delay.since)
    return since


def fullest(spans: Iterable[Span], length_s: float) -> int:
    """The most weight that lies in any window of this length as a whole."""
    inside: list[tuple[float, int]] = []
    weight = most = 0
    for span in sorted(spans, key=lambda span: span.until):
        heapq.heappush(inside, (span.since, span.weight))
        weight += span.weight
        while inside and inside[0][0] < span.until - length_s:
            weight -= heapq.heappop(inside)[1]
        most = max(most, weight)
    return most


# -- calls at the same time -----------------------------------------------------------------------

LEFT = (None, 499)
"""Statuses of a call that its client, or the network, broke off."""


def most_at_once(
    calls: Iterable[Call],
    orphans: Iterable[Orphans] = (),
    *,
    since: float = -math.inf,
    until: float = math.inf,
) -> int:
    """The most calls that ran at the same time and held slots, in a stretch of time.

    A call that its client broke off was over when the client left; the upstream may learn of that a little later.
    """
    by_worker: dict[str, list[Orphans]] = {}
    for orphan in orphans:
        by_worker.setdefault(orphan.worker, []).append(orphan)
    steps: list[tuple[float, int]] = []
    for call in calls:
        if call.started_s is None:
            continue
        ends = [call.ended_at - JITTER_S if call.status in LEFT else call.ended_at, until]
        ends += [
            orphan.since
            for orphan in by_worker.get(call.source or "", ())
            if orphan.since < call.ended_at and call.arrived_at <= orphan.until
        ]
        begins_at, ends_at = max(call.arrived_at, since), min(ends)
        if begins_at < ends_at:
            steps += [(begins_at, 1), (ends_at, -1)]
    most = running = 0
    for _, step in sorted(steps):  # at the same moment ends come first
        running += step
        most = max(most, running)
    return most


# -- refusals -------------------------------------------------------------------------------------


def is_refused(call: Call) -> bool:
    """Turned away because of a limit; an injected refusal has passed the limits."""
    return call.started_s is None and call.status in (429, 503)


def refusals(upstream: str, calls: Iterable[Call], declared: Declared) -> Iterator[str]:
    """Calls that the upstream refused for its limits while nothing was declared, counted in a line."""
    excused = [
        *((delay.since, delay.until + JITTER_S) for delay in declared.delays),
        *declared.ledger_lost,
        *declared.overcharged,
    ]
    times = [call.arrived_at for call in calls if is_refused(call)]
    wrong = [at for at in times if not any(since <= at <= until for since, until in excused)]
    if wrong:
        yield f"{upstream}: {len(wrong)} calls refused for its limits, the first at {wrong[0]:.3f}"


# -- for the report -------------------------------------------------------------------------------


def used(evidence: Evidence) -> list[tuple[str, list[float]]]:
    """How full the fullest windows of 1, 10 and 60 s were, as shares of the limit, without any burst; by rate."""
    found = []
    for limit in evidence.limits:
        calls = evidence.calls_under(limit)
        for what, per_minute, weigh in rates(limit):
            spans = [Span(call.arrived_at, call.arrived_at, weigh(call)) for call in calls]
            shares = [fullest(spans, window_s) * MINUTE_S / per_minute / window_s for window_s in WINDOWS_S]
            found.append((f"{limit.name} {what}", shares))
    return found


def share_not_held_up(evidence: Evidence) -> float:
    """The part of the calls whose spans no declared delay has widened."""
    latest_first = latest_ended_first(evidence.declared.delays)
    calls = evidence.all_calls()
    prompt = sum(granted_since(call, latest_first) == call.arrived_at - JITTER_S for call in calls)
    return prompt / len(calls)
