"""Jobs whose workers die: twice anywhere, twice with few neighbours, then never again."""

from __future__ import annotations

from shared.job import JobState
from shared.store.grants import QUARANTINE_FULL, Load
from shared.store.queue_keeper import Rescued
from tests.shared.store.conftest import Bench


async def die(bench: Bench, *, max_attempts: int = 3) -> Rescued:
    """All workers die, and others notice."""
    bench.expire_leases()
    return await bench.keeper(max_attempts=max_attempts).rescue()


async def make_suspects(bench: Bench, *job_ids: str, deaths: int = 2) -> None:
    await bench.submit(*job_ids)
    for _ in range(deaths):
        assert len(await bench.claim(100)) == len(job_ids)
        await die(bench)


async def test_first_death_is_nobodys_fault(bench: Bench) -> None:
    """The job is first in its queue again."""
    await bench.submit("a", "b")
    await bench.claim(1)
    assert await die(bench) == (["a"], [], [])
    assert [g.job_id for g in await bench.claim(1)] == ["a"]


async def test_second_death_makes_a_suspect(bench: Bench) -> None:
    """It waits in its provider's quarantine."""
    await bench.submit("a")
    await bench.claim()
    await die(bench)
    await bench.claim()
    assert await die(bench) == ([], ["a"], [])
    assert bench.raw.lrange("chatq:quarantine:p", 0, -1) == ["a"]
    assert bench.raw.llen("rq:queue:p.default") == 0


async def test_few_suspects_run_at_a_time(bench: Bench) -> None:
    """Four a worker, those that run counted; others' jobs go on beside them."""
    await make_suspects(bench, *"abcdef")
    await bench.submit("x")
    first = await bench.claim(100)
    assert sorted(g.abandoned for g in first) == [0, 2, 2, 2, 2]
    assert await bench.claim(100, load={"p": Load(5, QUARANTINE_FULL)}) == []
    assert len(await bench.claim(100, load={"p": Load(4, 3)})) == 1


async def test_provider_that_is_asked_twice_in_a_claim_has_its_suspects_once(bench: Bench) -> None:
    """What another provider leaves over goes to this one, whose quarantine is empty by then."""
    await make_suspects(bench, "s")
    await bench.submit(*"abcde")
    await bench.submit(*"xyz", queue="q.default")
    await bench.jobs.cancel(list("xyz"))  # tombstones: they are counted, and bring nothing
    claimed = await bench.claim(6, load=("p", "q"))
    assert sorted(grant.job_id for grant in claimed) == ["a", "b", "c", "d", "e", "s"]
    assert bench.raw.hget("chatq:totals", "broken") is None


async def test_suspect_that_killed_again_runs_alone(bench: Bench) -> None:
    """It waits until no other suspect runs in the worker without holding up the others, and then none joins it."""
    await make_suspects(bench, "a", "b")
    (worse,) = await bench.claim(1)
    await die(bench)
    await bench.submit("x", "y")
    assert bench.raw.lindex("chatq:quarantine:p", 0) == worse.job_id
    (other,) = {"a", "b"} - {worse.job_id}
    assert [g.job_id for g in await bench.claim(1, load={"p": Load(1, 1)})] == [other]
    assert [g.job_id for g in await bench.claim(100)] == [worse.job_id, "x", "y"]


async def test_fourth_death_is_poison(bench: Bench) -> None:
    """Two anywhere, two in the quarantine; then it fails, and no call follows."""
    await make_suspects(bench, "a")
    await bench.claim()
    assert await die(bench) == ([], ["a"], [])
    await bench.claim()
    assert await die(bench) == ([], [], ["a"])
    (job,) = await bench.jobs.read(["a"])
    assert job is not None
    assert job.error is not None
    assert (job.state, job.error.code, job.attempts) == (JobState.FAILED, "poison", 4)
    assert await bench.claim() == []


async def test_only_attempt_is_never_repeated(bench: Bench) -> None:
    """With `max_attempts` 1 a lost worker ends the job: its call may be billed."""
    await bench.submit("a", max_attempts=1)
    await bench.claim()
    assert await die(bench) == ([], [], ["a"])


async def test_suspect_that_is_answered_leaves_no_trace(bench: Bench) -> None:
    """The worker's death was somebody else's fault."""
    await make_suspects(bench, "a")
    (grant,) = await bench.claim()
    assert await bench.answer(grant) == ["ok"]
    assert bench.raw.exists("chatq:quarantine:p", "chatq:slots:account:p", "chatq:payload") == 0


async def test_suspect_comes_back_to_the_quarantine(bench: Bench) -> None:
    """Also from a backoff, a drain or a rate limit."""
    await make_suspects(bench, "a", "b", "c")
    a, b, c = await bench.claim()
    await bench.give_back(a, "drain", gives_attempt_back=True)
    await bench.give_back(b, "rate_limited", gives_attempt_back=True)
    await bench.give_back(c, delay_ms=1000)
    bench.let_time_pass(1.1)
    await bench.keeper().promote()
    assert sorted(bench.raw.lrange("chatq:quarantine:p", 0, -1)) == ["a", "b", "c"]


async def test_moved_suspect_stays_one(bench: Bench) -> None:
    """It would kill the other provider's workers as well."""
    bench.serve("fast.default")
    await bench.submit("a", fallbacks=[("fast", "m")])
    for _ in range(2):
        await bench.claim()
        await die(bench)
    (grant,) = await bench.claim()
    assert await bench.give_back(grant, "next", error=b"{}") == "moved"
    assert bench.raw.lrange("chatq:quarantine:fast", 0, -1) == ["a"]


async def test_cancelled_suspect_is_passed_over(bench: Bench) -> None:
    """Its entry is a tombstone like any other."""
    await make_suspects(bench, "a", "b")
    await bench.jobs.cancel(["a"])
    assert [g.job_id for g in await bench.claim()] == ["b"]


async def test_suspects_keep_to_the_limits(bench: Bench) -> None:
    """A suspect is no excuse to call more often."""
    await make_suspects(bench, "a", "b")
    await bench.limits.set("account:p", {"concurrency": 1})
    assert len(await bench.claim()) == 1
    assert bench.raw.llen("chatq:quarantine:p") == 1


async def test_broken_suspect_costs_nobody_a_lease(bench: Bench) -> None:
    """A key that is no hash is dropped; what the claim granted before stands."""
    bench.raw.set("rq:job:bad", "no hash", ex=60)
    bench.raw.rpush("chatq:quarantine:p", "bad", "gone")
    await bench.submit("a", queue="fast.default")
    await bench.submit("b")
    grants = await bench.claim(load=["fast", "p"])
    assert {g.member for g in grants} == set(bench.raw.zrange("chatq:leases", 0, -1))
    assert len(grants) == 2


async def test_death_says_nothing_of_a_cancelled_job(bench: Bench) -> None:
    """It has ended; only its slot is freed."""
    await bench.submit("a")
    await bench.claim()
    await bench.jobs.cancel(["a"])
    assert await die(bench) == ([], [], [])
    assert bench.status("a") == "canceled"
