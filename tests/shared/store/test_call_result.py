"""What a call showed, written for the scripts: what is said once there is what is counted."""

from __future__ import annotations

import pytest

from shared.errors import RateLimited
from shared.observed_limits import ObservedLimits
from shared.store.call_result import Blame, CallResult, Verdict
from shared.store.telemetry import read_counters
from tests.shared.store.conftest import Bench
from worker.events import error_class

MOST = 2**53


async def counted(bench: Bench, shown: CallResult) -> dict[tuple[str, str], int]:
    await bench.submit("a")
    (grant,) = await bench.claim()
    assert await bench.end(grant, shown=shown._replace(reserved=grant.reserved).encode()) == "ok"
    counters = await read_counters(bench.store, minutes=1)
    assert bench.raw.hget("chatq:totals", "broken") is None
    return counters.calls | counters.tokens | counters.cost


async def test_good_answer_is_counted(bench: Bench) -> None:
    """By its tokens and its cost, in millionths."""
    shown = CallResult(0, 0.0, "good", 7, 5, ended="ok", cost_usd=0.25, is_billed=True)
    assert await counted(bench, shown) == {
        ("p", "ok"): 1,
        ("p", "input"): 7,
        ("p", "output"): 5,
        ("p", "micro_usd"): 250_000,
    }


async def test_answer_that_says_more_is_counted_alike(bench: Bench) -> None:
    """Limits in its headers make it longer to write."""
    shown = CallResult(0, 0.0, "good", 7, 5, ObservedLimits(60, 59, None, None), None, "ok", None, True)
    assert await counted(bench, shown) == {
        ("p", "ok"): 1,
        ("p", "input"): 7,
        ("p", "output"): 5,
        ("p", "unknown"): 1,
    }
    assert bench.state("account:p")["stated_rpm"] == 60


@pytest.mark.parametrize("verdict", ["bad", "limited", "refused", "dropped"])
async def test_failed_call_is_counted_by_its_class(bench: Bench, verdict: Verdict) -> None:
    """It costs nothing unless it may be billed."""
    blame = Blame("model", "failure")
    ended = error_class(RateLimited("x"))
    assert await counted(bench, CallResult(0, 0.0, verdict, blame=blame, ended=ended)) == {("p", ended): 1}


async def test_no_call_is_not_counted(bench: Bench) -> None:
    assert await counted(bench, CallResult(0, 0.0, "refused")) == {}


async def test_greatest_numbers_pass(bench: Bench) -> None:
    """Upstreams state any number."""
    shown = CallResult(0, 0.0, "good", MOST - 1, MOST - 1, ended="ok", cost_usd=1e300)
    assert (await counted(bench, shown))["p", "micro_usd"] == MOST
