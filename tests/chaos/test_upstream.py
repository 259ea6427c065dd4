"""Upstreams go wrong in every way a provider can: each job gets its answer, or the right error."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import psutil
import pytest

from tests.chaos.checker import check
from tests.chaos.evidence import Evidence, Limit
from tests.chaos.lab import PRIMARY, SECONDARY, Lab, limit_env
from tests.chaos.load import Load
from tests.support import wait_until

AGAIN = ("500", "503", "529", "429", "429-bare", "reset", "reset-mid", "truncate", "malformed", "html", "empty",
         "no-choices", "error-200", "deep-json", "trickle", "hang", "hang-after-headers")  # fmt: skip
"""Faults after which another call may do better."""

NEVER = {"oversize": "answer_too_large", "gzip-bomb": "answer_too_large", "404-model": "model_not_found"}
"""Faults that another call would meet again, and the error that says so."""


async def test_every_fault_ends_in_an_answer_or_its_error(lab: Lab) -> None:
    """F26–F30, F36: six jobs of each fault, which strikes the first call of each; memory stays flat."""
    lab.upstreams[PRIMARY].set(retry_after_s=0.3, trickle_interval_s=0.2, oversize_bytes=32 * 1024 * 1024)
    worker = await lab.start(
        CHATQ_PROVIDERS__OLLAMA__TIMEOUT_S="1",
        CHATQ_JOBS__MAX_ANSWER_BYTES="1000000",
        CHATQ_JOBS__MAX_ATTEMPTS="5",
    )
    before = psutil.Process(worker.pid).memory_info().rss
    lab.declared.failures |= set(NEVER.values())
    for fault in (*AGAIN, *NEVER):
        first = "" if fault in NEVER else "-first-1"
        await lab.submit(Load(jobs=6, model=f"sim-fault-{fault}{first}", name=fault, max_attempts=5))
    assert await lab.collect(timeout_s=20)
    grown = psutil.Process(worker.pid).memory_info().rss - before
    evidence = await lab.evidence()
    check(evidence)
    states = ends_by_name(lab, evidence)
    assert {name: states[name] for name in AGAIN} == {name: {"completed"} for name in AGAIN}
    assert {name: states[name] for name in NEVER} == {name: {code} for name, code in NEVER.items()}
    assert grown < 60e6


def ends_by_name(lab: Lab, evidence: Evidence) -> dict[str, set[str]]:
    """Load's name → states, an error's code instead of `failed`."""
    found: dict[str, set[str]] = {}
    for ask in lab.asks.values():
        job = evidence.snapshot.jobs[ask.id]
        error = evidence.error_code(ask.id)
        found.setdefault(ask.text.split()[1], set()).add(
            error if job["cq_state"] == "failed" else job["cq_state"]
        )
    return found


@dataclass(frozen=True)
class Storm:
    """What the primary does for a while."""

    name: str
    faults: dict[str, float]
    retry_after_s: float = 0.2


STORMS = (
    Storm("429 that states its wait", {"429": 1.0}),
    Storm("429 that states none", {"429-bare": 1.0}),
    Storm("429 that states an absurd one", {"429": 0.2}, retry_after_s=0.0),
    Storm("errors of a server that is down", {"500": 0.4, "503": 0.3, "529": 0.3}),
)


@pytest.mark.parametrize("storm", STORMS, ids=lambda storm: storm.name)
async def test_storm_passes(lab: Lab, storm: Storm) -> None:
    """F31, F32: a storm of a second over 600 jobs; afterwards everything completes, and no 429 costs an attempt."""
    upstream = lab.upstreams[PRIMARY]
    await lab.start_all(["sent:0", "sent:0"], "--concurrency", "60")
    upstream.set(faults=storm.faults, retry_after_s=storm.retry_after_s)
    await lab.submit(Load(jobs=600, max_attempts=10))
    await asyncio.sleep(1.0)
    struck = lab.calls()
    upstream.set(faults={})
    assert await lab.collect(timeout_s=25)
    evidence = await lab.evidence()
    check(evidence)
    # A storm is met with a few calls, not with all there are: what is closed is closed for the whole fleet.
    assert struck < 1_200
    if "429" in storm.name and "absurd" not in storm.name:
        assert {job["cq_attempts"] for job in evidence.snapshot.jobs.values()} == {"1"}


async def test_breaker_lets_only_probes_through(lab: Lab) -> None:
    """F32, I14: while the upstream fails, calls after the opening are at most the permits of each probing."""
    upstream = lab.upstreams[PRIMARY]
    upstream.set(faults={"503": 1.0}, latency="fixed:0.02")
    await lab.start_all(["sent:0", "sent:0", "sent:0"], "--concurrency", "40")
    await lab.submit(Load(jobs=500, max_attempts=20))
    await wait_until(lambda: lab.total("opened") > 0)
    opened_at = time.time()
    await asyncio.sleep(3.0)
    healed_at = time.time()
    upstream.set(faults={})
    assert await lab.collect(timeout_s=25)
    check(await lab.evidence())
    probes = sum(opened_at + 0.3 < call.arrived_at < healed_at for call in upstream.calls)
    assert 1 <= probes <= 3 * (3.0 / 0.5 + 1)


@pytest.mark.parametrize("fault", ["bad-key", "402", "429-quota"])
async def test_rejected_account_hands_its_jobs_on(lab: Lab, fault: str) -> None:
    """F33: a key, a balance or a quota that is refused closes the account; jobs go on with the next candidate."""
    lab.upstreams[PRIMARY].set(faults={fault: 1.0})
    await lab.start_all(["sent:0", "sent:0"], "--concurrency", "30")
    await lab.submit(Load(jobs=300, fallback_share=1.0))
    assert await lab.collect()
    check(await lab.evidence())
    assert lab.calls(PRIMARY) <= 60
    assert lab.calls(SECONDARY) == 300


UNREACHABLE = {
    "a name nobody knows": "http://no-such-host.invalid:1",
    "a port nobody listens on": "http://127.0.0.1:9",
    "a server that speaks no TLS": "https://{address}",
}


@pytest.mark.parametrize("why", UNREACHABLE, ids=str)
async def test_unreachable_upstream_is_left_quickly(lab: Lab, why: str) -> None:
    """F34: DNS, refusal, TLS: typed at once, no descriptor stays behind, the second provider answers."""
    address = lab.upstreams[PRIMARY].url.removeprefix("http://")
    worker = await lab.start(CHATQ_PROVIDERS__OLLAMA__BASE_URL=UNREACHABLE[why].format(address=address))
    await lab.submit(Load(jobs=200, fallback_share=1.0))
    assert await lab.collect(timeout_s=5)
    assert psutil.Process(worker.pid).num_fds() < 350
    check(await lab.evidence())


async def test_bad_network_to_the_upstream_is_survived(lab: Lab) -> None:
    """F27, F28, F35: connections are reset, idle ones closed before reuse, silent, half closed, and late."""
    proxy = lab.upstream_proxies[PRIMARY]
    await lab.start("--concurrency", "20", via_upstream_proxy=True, CHATQ_PROVIDERS__OLLAMA__TIMEOUT_S="1")
    await lab.submit(Load(jobs=1_200, max_attempts=20))
    done = 0
    for name, change in (
        ("reset_share", 0.05), ("delay_s", 0.05), ("half_closes", True), ("drops_replies", True),
    ):  # fmt: skip
        done += 100
        await lab.until_ended(done)
        setattr(proxy, name, change)
        await asyncio.sleep(0.7)
        proxy.heal()
        proxy.reset_all()
    assert await lab.collect()
    check(await lab.evidence())


async def test_slow_upstream_fills_the_slots_and_no_more(lab: Lab) -> None:
    """F26: twenty times slower: calls in flight rise to the limit, and stay there."""
    lab.upstreams[PRIMARY].set(latency="fixed:0.04")
    limit = Limit(PRIMARY, concurrency=60)
    lab.limits.append(limit)
    await lab.start("--concurrency", "100", **limit_env(limit))
    await lab.submit(Load(jobs=400))
    await lab.until_ended(100)
    lab.upstreams[PRIMARY].set(latency="fixed:0.8")
    await wait_until(lambda: lab.in_flight() >= 60)
    assert await lab.collect()
    check(await lab.evidence())
