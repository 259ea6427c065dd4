"""I7 is checked strictly: what is over a limit is seen in each window, and only what was declared is excused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from simulator import CallRecord
from tests.chaos.evidence import Ask, Call, Declared, Delay, Evidence, Limit, Orphans, Snapshot
from tests.chaos.windows import JITTER_S, limits_broken

RPM = 600
PER_S = RPM / 60.5
"""What is let through, so that a minute and a burst of half a second hold no more than the limit."""


def call(at: float, *, for_s: float = 0.01, **changes: object) -> CallRecord:
    """A call that arrived so many seconds after the start, and was answered."""
    record = CallRecord(at, "openai", "/", "a", "1", "w1", ended_at=at + for_s, status=200, started_s=at)
    return replace(record, **changes)  # type: ignore[arg-type]


def paced(seconds: float, *, per_s: float = PER_S, first: float = 0.0) -> list[CallRecord]:
    """Calls at an even rate."""
    return [call(first + n / per_s) for n in range(int(seconds * per_s))]


def found(calls: Iterable[Call], limit: Limit, declared: Declared | None = None) -> list[str]:
    """What the checker says of one upstream's calls."""
    nothing = Snapshot({}, {}, [], [], {}, {}, "")
    asks = {"a": Ask("a", "", frozenset(), 0.0, 0.0, client="c")}
    evidence = Evidence(asks, {"up": list(calls)}, nothing, declared or Declared(), limits=[limit])
    return list(limits_broken(evidence))


def test_burst_and_then_the_rate_are_allowed() -> None:
    burst = [call(0.0) for _ in range(int(PER_S / 2))]
    assert found(burst + paced(150), Limit("up", rpm=RPM)) == []


@pytest.mark.parametrize(("window_s", "too_fast"), [(1, 2.0), (10, 1.2), (60, 1.04)])
def test_each_window_is_looked_at(window_s: int, too_fast: float) -> None:
    """So little too fast, and so short, that no other window shows it."""
    lines = found(paced(window_s + 1, per_s=PER_S * too_fast), Limit("up", rpm=RPM))
    assert [f"in {window_s} s" in line for line in lines] == [True]


def test_tokens_are_counted_as_the_upstream_charged_them() -> None:
    calls = [replace(one, charged_tokens=100) for one in paced(20)]
    assert found(calls, Limit("up", tpm=100 * RPM)) == []
    assert "tokens" in found(calls, Limit("up", tpm=50 * RPM))[0]
    assert found([replace(one, status=500) for one in calls], Limit("up", tpm=50 * RPM)) == []


def test_client_is_measured_over_its_own_calls() -> None:
    others = [call(n / 100, job="b") for n in range(1_000)]
    assert found(paced(20) + others, Limit(client="c", rpm=RPM)) == []
    assert found(paced(20) + others, Limit(client="c", rpm=RPM // 2)) != []


def bunched() -> list[CallRecord]:
    """What was granted in three seconds reaches the upstream at once."""
    return [*paced(10), *(call(13.0) for _ in range(int(3 * PER_S))), *paced(10, first=13.01)]


@pytest.mark.parametrize(
    ("delay", "is_excused"),
    [
        (Delay(10.0, 13.0), True),
        (Delay(10.0, 13.0, "w1"), True),
        (Delay(10.0, 13.0, "w2"), False),
        (Delay(10.0, 12.0), False),
        (Delay(12.5, 13.0), False),
    ],
)
def test_declared_delay_excuses_its_own_calls_only(delay: Delay, is_excused: bool) -> None:
    assert (found(bunched(), Limit("up", rpm=RPM), Declared(delays=[delay])) == []) == is_excused


def test_delay_that_follows_on_another_is_as_long_as_both() -> None:
    delays = [Delay(10.0, 11.5), Delay(11.4, 13.0)]
    assert found(bunched(), Limit("up", rpm=RPM), Declared(delays=delays)) == []


def test_delayed_calls_count_in_windows_that_are_longer() -> None:
    """Ten times the rate for three seconds, all declared as late: no ten seconds could have granted so many."""
    calls = [call(13.0) for _ in range(int(30 * PER_S))]
    lines = found(calls, Limit("up", rpm=RPM), Declared(delays=[Delay(10.0, 13.0)]))
    assert [line.partition(" requests in ")[2].split()[0] for line in lines] == ["10"]


def test_lost_ledger_excuses_the_windows_it_touches_only() -> None:
    storm = [call(30.0 + n / 1_000) for n in range(100)]
    lost = Declared(ledger_lost=[(29.0, 32.0)])
    assert found(paced(30) + storm + paced(30, first=32.2), Limit("up", rpm=RPM), lost) == []
    assert found(paced(30) + storm, Limit("up", rpm=RPM), Declared(ledger_lost=[(31.0, 32.0)])) != []


def test_calls_at_once_are_counted() -> None:
    calls = [call(n * 0.5, for_s=2.0) for n in range(10)]
    assert found(calls, Limit("up", concurrency=4)) == []
    assert found(calls, Limit("up", concurrency=3)) == ["up: 4 calls at once, limit 3"]


def test_call_that_was_broken_off_ended_a_little_earlier() -> None:
    """The upstream learns late that a client has left, whose slot is somebody else's by then."""
    late = JITTER_S / 2
    calls = [call(0.0, for_s=1.0 + late, status=499), call(1.0, for_s=1.0)]
    assert found(calls, Limit("up", concurrency=1)) == []
    assert found([replace(calls[0], status=200), calls[1]], Limit("up", concurrency=1)) != []


def test_orphans_hold_no_slots() -> None:
    """A worker that stood still for longer than its leases sends what it was granted when it wakes up."""
    calls = [call(0.0, for_s=9.0), call(4.1, for_s=1.0), call(2.0, for_s=4.0, source="w2")]
    orphans = Declared(orphans=[Orphans(1.5, 4.2, "w1")])
    assert found(calls, Limit("up", concurrency=1)) == ["up: 3 calls at once, limit 1"]
    assert found(calls, Limit("up", concurrency=1), orphans) == []
    assert found([*calls, call(5.0)], Limit("up", concurrency=1), orphans) != []


def test_refusals_are_excused_by_what_was_declared_only() -> None:
    refused = call(5.0, status=429, started_s=None)
    assert found([refused], Limit("up", rpm=RPM)) == [
        "up: 1 calls refused for its limits, the first at 5.000"
    ]
    assert found([refused], Limit("up", rpm=RPM), Declared(delays=[Delay(4.0, 5.0)])) == []
    assert found([refused], Limit("up", rpm=RPM), Declared(ledger_lost=[(4.0, 6.0)])) == []
    assert found([refused], Limit("up", rpm=RPM), Declared(overcharged=[(4.0, 6.0)])) == []
    assert found([refused], Limit("up", rpm=RPM), Declared(overcharged=[(3.0, 4.5)])) != []
    assert found([call(5.0, status=429, fault="429")], Limit("up", rpm=RPM)) == []
