"""claim_jobs: what is granted, to whom, and what is dropped."""

from __future__ import annotations

from collections import Counter

from shared.job import JobState, Lane
from shared.store.grants import GrantStore, Load
from tests.shared.store.conftest import Bench


async def test_claimed_job_is_leased_and_mirrored(bench: Bench) -> None:
    """The lease lives in chatq's key; RQ's registry shows the job with a score no clock reaches."""
    await bench.submit("a")
    (grant,) = await bench.claim()
    assert bench.raw.zrange("chatq:leases", 0, -1) == [grant.member]
    assert bench.raw.zrange("rq:wip:p.default", 0, -1, withscores=True) == [(grant.member, float("inf"))]
    assert (bench.status("a"), grant.attempts) == ("started", 1)


async def test_same_nonce_gets_same_grants(bench: Bench) -> None:
    """A claim whose reply was lost is sent again and loses nothing."""
    await bench.submit("a", "b", "c")
    worker = bench.worker()
    first = await worker.claim(nonce="x", want=2, load={"p": Load()})
    again = await worker.claim(nonce="x", want=2, load={"p": Load()})
    assert [g.member for g in again.grants] == [g.member for g in first.grants]
    assert bench.raw.llen("rq:queue:p.default") == 1


async def test_entry_of_cancelled_job_is_dropped(bench: Bench) -> None:
    """A tombstone costs a pop and nothing else."""
    await bench.submit("a", "b")
    await bench.jobs.cancel(["a"])
    assert [g.job_id for g in await bench.claim()] == ["b"]


async def test_id_twice_in_list_runs_once(bench: Bench) -> None:
    """The compare-and-set on status drops the second entry."""
    await bench.submit("a")
    bench.raw.rpush("rq:queue:p.default", "a")
    assert len(await bench.claim()) == 1


async def test_id_without_hash_is_dropped(bench: Bench) -> None:
    """An expired or invented id is no job."""
    bench.raw.rpush("rq:queue:p.default", "ghost")
    assert await bench.claim() == []


async def test_suspended_fleet_claims_nothing(bench: Bench) -> None:
    """`rq suspend` holds chatq's workers too."""
    await bench.submit("a")
    bench.raw.set("rq:suspended", 1, ex=60)
    claimed = await bench.worker().claim(nonce="x", want=1, load={"p": Load()})
    assert (claimed.grants, claimed.is_suspended) == ([], True)


async def test_oversized_data_is_granted_empty(bench: Bench) -> None:
    """The worker learns that the job is corrupt without ever holding its payload."""
    await bench.submit("a")
    bench.raw.hset("rq:job:a", "data", "x" * 20_000)
    (grant,) = await bench.claim()
    assert grant.data == b""


async def test_expired_job_ends_without_a_call(bench: Bench) -> None:
    """Nobody is granted what is too late; it has a state of its own."""
    await bench.submit("a", expires_in_ms=1)
    bench.raw.hset("rq:job:a", "cq_deadline", 1)
    assert await bench.claim() == []
    (job,) = await bench.jobs.read(["a"])
    assert job is not None
    assert (job.state, job.attempts) == (JobState.EXPIRED, 0)
    assert bench.raw.exists("chatq:deadlines", "chatq:payload") == 0


async def test_slots_go_to_provider_with_fewest_calls(bench: Bench) -> None:
    """A slow provider that fills the worker leaves the next slots to the others."""
    await bench.submit(*(f"a{n}" for n in range(20)), queue="slow.default")
    await bench.submit(*(f"b{n}" for n in range(20)), queue="fast.default")
    claimed = await bench.worker().claim(nonce="x", want=12, load={"slow": Load(10), "fast": Load()})
    assert Counter(g.queue for g in claimed.grants) == {"fast.default": 11, "slow.default": 1}


async def _share(bench: Bench, worker: GrantStore, rounds: int, want: int) -> Counter[str]:
    served: Counter[str] = Counter()
    for n in range(rounds):
        claimed = await worker.claim(nonce=f"r{n}-{want}", want=want, load={"p": Load()})
        served.update(g.queue for g in claimed.grants)
    return served


async def test_busy_lanes_share_by_weight(bench: Bench) -> None:
    """70 : 25 : 5 over any hundred grants, however small the claims."""
    for lane in Lane:
        await bench.submit(*(f"{lane}{n}" for n in range(200)), queue=f"p.{lane}")
    served = await _share(bench, bench.worker(), rounds=100, want=2)
    assert abs(served["p.interactive"] - 140) <= 2
    assert abs(served["p.default"] - 50) <= 2
    assert abs(served["p.batch"] - 10) <= 2


async def test_idle_lane_gives_its_share_away(bench: Bench) -> None:
    """Without competition the batch lane gets everything."""
    await bench.submit(*(f"x{n}" for n in range(50)), queue="p.batch")
    assert await _share(bench, bench.worker(), rounds=1, want=50) == {"p.batch": 50}


async def test_lane_earns_no_credit_while_idle(bench: Bench) -> None:
    """After a long batch, interactive work gets its share and not the whole past as well."""
    await bench.submit(*(f"b{n}" for n in range(300)), queue="p.batch")
    await bench.submit(*(f"d{n}" for n in range(300)), queue="p.default")
    await _share(bench, bench.worker(), rounds=10, want=20)
    await bench.submit(*(f"i{n}" for n in range(300)), queue="p.interactive")
    served = await _share(bench, bench.worker("w2"), rounds=10, want=10)
    assert abs(served["p.interactive"] - 70) <= 2
    assert served["p.batch"] >= 4


async def test_claim_works_over_maxmemory(bench: Bench) -> None:
    """A full server is emptied by its workers."""
    await bench.submit("a")
    bench.raw.config_set("maxmemory", 1)
    try:
        assert len(await bench.claim()) == 1
    finally:
        bench.raw.config_set("maxmemory", 0)
