"""Redis and the way to it go wrong: replies get lost, lines break, the server dies, stalls, fills up, forgets."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.errors import StoreFull
from tests.chaos.checker import check
from tests.chaos.evidence import Limit
from tests.chaos.lab import LEASE_S, PRIMARY, Lab, limit_env, script_marker
from tests.chaos.load import Load
from tests.support import SERVERS, RedisServer, ended, wait_until

MIX = Load(
    jobs=800, clients=("a", "b"), once_share=0.05, cancel_share=0.05, deadline_share=0.05, deadline_s=4
)


BRISK = Limit(PRIMARY, rpm=12_000, concurrency=70)


@pytest.fixture
async def proxied(tmp_path: Path) -> AsyncIterator[Lab]:
    """A lab whose producer goes through the proxy."""
    async with Lab.open(tmp_path / "lab", producer_via_proxy=True) as opened:
        yield opened


async def test_lost_replies_change_nothing(proxied: Lab) -> None:
    """F11: each script's reply is eaten once or twice; it is sent again, and recognised."""
    lab = proxied
    lab.upstreams[PRIMARY].set(faults={"503": 0.3}, fault_first=1)
    lab.redis_proxy.eat_reply(script_marker("enqueue_jobs"))
    worker = await lab.start("--concurrency", "50", via_redis_proxy=True)
    await lab.submit(Load(jobs=800, cancel_share=0.1))
    names = ("claim_jobs", "finalize_jobs", "release_jobs", "extend_leases", "promote_jobs", "beat_worker")
    lab.redis_proxy.eat_reply(*(script_marker(name) for name in names * 2))
    assert await lab.collect()
    worker.terminate()
    assert await ended(worker) == 0
    check(await lab.evidence())
    assert len(lab.redis_proxy.eaten_at) >= 1 + len(names)
    assert lab.total("rescued") == 0


async def test_lost_reply_about_cancelled_jobs_changes_nothing(lab: Lab) -> None:
    """F11, F41, I17: calls are dropped because their jobs are cancelled, and the reply to that outcome is eaten."""
    await lab.start("--concurrency", "40", via_redis_proxy=True)
    await lab.submit(Load(jobs=1, name="first"))
    await lab.until_ended(1)  # Redis knows the script now: what is eaten is no NOSCRIPT
    lab.upstreams[PRIMARY].set(latency="fixed:1")
    ids = await lab.submit(Load(jobs=40))
    await wait_until(lambda: lab.in_flight() >= 40)
    lab.redis_proxy.eat_reply(script_marker("finalize_jobs"))
    for job_id in ids[:10]:
        await lab.cancel(job_id)
    assert await lab.collect()
    check(await lab.evidence())


async def test_bad_lines_only_slow_it_down(proxied: Lab) -> None:
    """F12: one chunk in fifty resets its connection, the rest is late."""
    lab = proxied
    lab.redis_proxy.reset_share, lab.redis_proxy.delay_s = 0.02, 0.005
    await lab.start("--concurrency", "50", via_redis_proxy=True)
    await lab.submit(MIX)
    assert await lab.collect()
    lab.redis_proxy.heal()
    check(await lab.evidence())


@pytest.mark.parametrize("direction", ["both", "replies"])
async def test_cut_off_worker_leaves_its_jobs_to_others(lab: Lab, direction: str) -> None:
    """F23: nothing gets through between one worker and Redis, for longer than its leases."""
    lab.upstreams[PRIMARY].set(latency="uniform:0.1,1")
    lonely = await lab.start("--concurrency", "100", via_redis_proxy=True)
    await lab.submit(Load(jobs=400))
    await wait_until(lambda: lab.in_flight() >= 80)
    lab.redis_proxy.drops_replies, lab.redis_proxy.drops_requests = True, direction == "both"
    lab.note_blow(lonely, "cut off")
    await lab.start("--concurrency", "100")
    assert await lab.collect()
    lab.redis_proxy.heal()
    check(await lab.evidence())


async def test_stalled_redis_costs_no_call(lab: Lab) -> None:
    """F13: Redis stands still for longer than a lease: calls go on, answers are kept, nobody is taken for dead."""
    lab.upstreams[PRIMARY].set(latency="uniform:0.3,1.8")
    # Rescuers hold off for a renewal and a time-out: on a busy machine workers need that long to renew.
    patience = {"CHATQ_REDIS__SOCKET_TIMEOUT_S": "2"}
    await lab.start_all(["sent:0", "sent:0"], "--concurrency", "100", **patience)
    await lab.submit(Load(jobs=600))
    await wait_until(lambda: lab.in_flight() >= 150)
    lab.upstreams[PRIMARY].set(latency="uniform:0.1,0.6")
    assert lab.server.process is not None
    lab.server.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(LEASE_S + 1)
    lab.server.process.send_signal(signal.SIGCONT)
    assert await lab.collect()
    check(await lab.evidence())
    assert lab.total("rescued") == 0


@pytest.mark.parametrize("fsync", ["everysec", "always"])
async def test_killed_redis_loses_nothing(tmp_path: Path, fsync: str) -> None:
    """F14, F16: kill -9 in the middle, restarted on its file with an empty script cache, then flushed."""
    options = {"appendonly": "yes", "appendfsync": fsync}
    async with Lab.open(tmp_path / "lab", redis_options=options) as lab:
        lab.background(lab.poll())
        await lab.submit(MIX)
        await lab.start_all(["sent:0", "sent:0"], "--concurrency", "50")
        await lab.until_ended(150)
        lab.server.kill()
        await asyncio.sleep(0.5)
        await asyncio.to_thread(lab.server.start)
        await lab.until_ended(400)
        lab.raw.script_flush()
        assert await lab.collect()
        check(await lab.evidence())


async def test_full_redis_refuses_work_and_keeps_answers(lab: Lab) -> None:
    """F17: over maxmemory new jobs are refused by type, what runs is stored, all goes on afterwards."""
    await full_redis(lab)
    check(await lab.evidence())


async def full_redis(lab: Lab, **env: str) -> None:
    """A run in which memory is short while 500 jobs are on their way; fails unless they end meanwhile."""
    lab.upstreams[PRIMARY].set(latency="uniform:0.2,0.4")
    await lab.start("--concurrency", "100", **env)
    await lab.submit(Load(jobs=500))
    await lab.until_ended(50)
    lab.raw.config_set("maxmemory", int(lab.raw.info("memory")["used_memory"] * 0.8))
    with pytest.raises(StoreFull):
        await lab.producer.submit({"model": "m", "messages": [{"role": "user", "content": "no room"}]})
    lab.declared.longest_gap_s = 2
    ended_all = await lab.collect(timeout_s=5)
    lab.raw.config_set("maxmemory", 0)
    if not ended_all:
        lab.journal.write("nothing was stored over maxmemory")
        await lab.collect()
    await lab.submit(Load(jobs=20, name="after"))
    await lab.collect()


async def test_emptied_redis_is_noticed_and_refilled(lab: Lab) -> None:
    """F22: FLUSHALL in the middle: workers go on; a client submits what is unknown again."""
    lab.upstreams[PRIMARY].set(latency="uniform:0.1,0.5")
    lab.limits.append(BRISK)
    await lab.start_all(["sent:0", "sent:0"], "--concurrency", "50", **limit_env(BRISK))
    await lab.submit(Load(jobs=300))
    await lab.until_ended(60)
    lab.declared.lost, lab.declared.goes_back = set(lab.asks), True
    flushed_at = time.time()
    lab.raw.flushall()
    await asyncio.sleep(1.5)
    assert lab.raw.keys("rq:job:*") == []
    await wait_until(lambda: bool(lab.raw.hexists("chatq:limits", "policy")))
    lab.declared.ledger_lost.append((flushed_at, time.time()))
    assert await lab.resubmit_unknown() == 300
    lab.declared.lost = set()
    lab.forget_sightings()
    assert await lab.collect()
    check(await lab.evidence())


async def test_failover_with_lag_loses_only_the_lag(tmp_path: Path, port: int, other_port: int) -> None:
    """F20, F21: a replica that stopped copying takes over; the old primary becomes read-only, then nobody's.

    What it had not copied is lost, as declared; a client submits it again under the same ids.
    """
    lag_s, longest_call_s = 0.4, 0.3
    options = {"appendonly": "no", "port": str(port), "repl-diskless-sync-delay": "0"}
    async with Lab.open(tmp_path / "lab", redis_options=options, producer_via_proxy=True) as lab:
        (tmp_path / "replica").mkdir()
        replica = RedisServer(SERVERS[max(SERVERS)], tmp_path / "replica", port=str(other_port))
        lab.failovers.append(replica)
        await asyncio.to_thread(replica.start)
        lab.upstreams[PRIMARY].set(latency=f"uniform:0.05,{longest_call_s}")
        with replica.client() as copy:
            copy.replicaof("127.0.0.1", port)
            await wait_until(lambda: copy.info("replication")["master_link_status"] == "up")
            lab.limits.append(BRISK)
            limits = limit_env(BRISK)
            await lab.start_all(["sent:0", "sent:0"], "--concurrency", "40", via_redis_proxy=True, **limits)
            await wait_until(lambda: copy.exists("chatq:limits") == 1)  # its link may be up before it copies
            await lab.submit(Load(jobs=300))
            await lab.until_ended(100)
            copy.replicaof("NO", "ONE")
            parted_at = time.time()
            lab.declared.goes_back = True
            lab.declared.lost = set(await lab.submit(Load(jobs=100, name="in the lag")))
            await asyncio.sleep(lag_s)
            lab.raw.replicaof("127.0.0.1", replica.port)
            await asyncio.sleep(0.3)
            lab.fail_over_to(replica)
            lab.declared.ledger_lost.append((parted_at, time.time() + longest_call_s))
            assert await lab.resubmit_unknown() > 0
            lab.declared.lost = set()
            lab.forget_sightings()
            assert await lab.collect()
            check(await lab.evidence())
