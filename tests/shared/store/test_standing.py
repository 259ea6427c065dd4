"""Standing claims: whoever enqueues a single job has the claim of an idle worker made in the same trip."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from shared.settings import AdmissionSettings, RedisSettings
from shared.store.connect import Store
from shared.store.grants import Claimed, Load, read_handed
from shared.store.jobs import JobStore
from tests.shared.store.conftest import Bench
from tests.support import RedisServer


class Ear:
    """What workers and everybody are told."""

    def __init__(self, raw: redis.Redis) -> None:
        self._pubsub = raw.pubsub(ignore_subscribe_messages=True)
        self._is_open = False

    def listen(self, *channels: str) -> None:
        self._pubsub.subscribe(*channels)
        for _ in channels:
            self._pubsub.get_message(timeout=5)

    def deafen(self, *channels: str) -> None:
        self._pubsub.unsubscribe(*channels)
        for _ in channels:
            self._pubsub.get_message(timeout=5)

    def heard(self) -> list[tuple[str, str]]:
        """Channel and content, so far."""
        found = []
        while (message := self._pubsub.get_message(timeout=0.05)) is not None:
            found.append((message["channel"], message["data"]))
        return found

    def close(self) -> None:
        self._pubsub.close()


@pytest.fixture
def ear(bench: Bench) -> Iterator[Ear]:
    """Listens for two workers, and for what wakes all of them."""
    opened = Ear(bench.raw)
    opened.listen("chatq:wake", "chatq:grants:w1", "chatq:grants:w2")
    yield opened
    opened.close()


async def stand(bench: Bench, nonce: str = "x", *, worker: str = "w1", **load: Load) -> Claimed:
    """A claim that stands if nothing waits."""
    loads = load or {"p": Load()}
    return await bench.worker(worker).claim(nonce=nonce, want=5, load=loads, stands_s=10)


def is_standing(bench: Bench, worker: str = "w1") -> bool:
    is_known = bench.raw.zscore("chatq:standing", worker) is not None
    assert bench.raw.exists(f"chatq:standing:{worker}") == is_known
    return is_known


def read(told: list[tuple[str, str]], worker: str = "w1") -> tuple[str, Claimed | None]:
    ((channel, message),) = told
    assert channel == f"chatq:grants:{worker}"
    return read_handed(message.encode())


async def test_single_job_is_handed_over(bench: Bench, ear: Ear) -> None:
    """The worker is told its grant, as a claim would have told it; nobody else is woken."""
    assert (await stand(bench)).grants == []
    assert is_standing(bench)
    await bench.submit("a", expires_in_ms=60_000)
    nonce, claimed = read(ear.heard())
    assert nonce == "x"
    assert claimed is not None
    (grant,) = claimed.grants
    assert (grant.job_id, grant.queue, grant.attempts, bench.status("a")) == ("a", "p.default", 1, "started")
    assert bench.raw.zrange("chatq:leases", 0, -1) == [grant.member]
    assert not is_standing(bench)
    again = await bench.worker().claim(nonce="x", want=5, load={"p": Load()})
    told = grant._replace(claimed_at=again.grants[0].claimed_at)
    assert again.grants == [told]
    assert await bench.end(grant) == "ok"


async def test_lost_message_is_made_good(bench: Bench, ear: Ear) -> None:
    """The same claim again gets the grant; it stands no more, and the next job is not handed over under it."""
    await stand(bench)
    await bench.submit("a")
    assert len(ear.heard()) == 1
    (grant,) = (await stand(bench)).grants
    assert grant.job_id == "a"
    assert not is_standing(bench)
    await bench.submit("b")
    assert ear.heard() == [("chatq:wake", "p.default")]


async def test_dead_worker_is_handed_nothing(bench: Bench, ear: Ear) -> None:
    """Nobody listens on its channel: the others are woken, or the next one that stands gets it."""
    await stand(bench, "y", worker="w2")
    await stand(bench, "x", worker="w1")
    ear.deafen("chatq:grants:w1")
    await bench.submit("a")
    nonce, _ = read(ear.heard(), "w2")
    assert nonce == "y"
    await bench.submit("b")
    assert ear.heard() == [("chatq:wake", "p.default")]
    assert bench.status("b") == "queued"


async def test_latest_comes_first(bench: Bench, ear: Ear) -> None:
    """One is woken, and only once: the next job goes to the next one."""
    await stand(bench, "x", worker="w1")
    bench.let_time_pass(1)
    await stand(bench, "y", worker="w2")
    await bench.submit("a")
    assert read(ear.heard(), "w2")[0] == "y"
    await bench.submit("b")
    assert read(ear.heard(), "w1")[0] == "x"
    await bench.submit("c")
    assert ear.heard() == [("chatq:wake", "p.default")]


async def test_several_jobs_wake_all(bench: Bench, ear: Ear) -> None:
    """They are for claims that take several."""
    await stand(bench)
    await bench.submit("a", "b")
    assert ear.heard() == [("chatq:wake", "p.default")]
    claimed = await stand(bench)
    assert [grant.job_id for grant in claimed.grants] == ["a", "b"]
    assert not is_standing(bench)


async def test_only_who_serves_the_provider(bench: Bench, ear: Ear) -> None:
    """A claim is for certain providers; what comes for another one wakes all, once."""
    await stand(bench, q=Load())
    await bench.submit("a")
    assert ear.heard() == [("chatq:wake", "p.default")]
    assert is_standing(bench)
    await bench.submit("b")  # the queue was not empty: no wake-up is due
    assert ear.heard() == []


async def test_wake_up_survives_a_job_in_between(bench: Bench, ear: Ear) -> None:
    """A large request comes in pieces, and another job between it and the look that follows: its wake-up is due."""
    await stand(bench, q=Load())
    run = bench.store.run

    async def enqueue_alone(name: str, args: Any, **_: Any) -> Any:
        return await run(name, args)

    bench.store.run = enqueue_alone  # type: ignore[assignment]
    await bench.submit("a")
    await bench.submit("b")
    assert ear.heard() == []
    for _ in range(2):
        assert await run("claim_jobs", ["p.default"]) == 0
    assert ear.heard() == [("chatq:wake", "p.default")]


async def test_claim_that_does_not_ask_does_not_stand(bench: Bench, ear: Ear) -> None:
    await bench.claim()
    assert not is_standing(bench)
    await bench.submit("a")
    assert ear.heard() == [("chatq:wake", "p.default")]


async def test_claim_does_not_stand_while_something_waits(bench: Bench, ear: Ear) -> None:
    """It is for an idle fleet; where a limit holds jobs back, the next job must not run before them."""
    await stand(bench)
    bench.raw.hset("chatq:limits", "account:p", '{"set": {"concurrency": 1}}')
    await bench.submit("a", "b")
    (grant,) = (await stand(bench)).grants
    assert (await stand(bench, "y")).grants == []
    assert not is_standing(bench)
    await bench.submit("c", queue="p.interactive")
    assert bench.status("c") == "queued"
    assert ("chatq:wake", "p.interactive") in ear.heard()
    assert await bench.end(grant) == "ok"


async def test_known_job_takes_no_claim(bench: Bench, ear: Ear) -> None:
    """A job that is handed in again is no work."""
    await stand(bench)
    await bench.submit("a")
    assert len(ear.heard()) == 1
    await stand(bench, "y")
    await bench.submit("a")
    assert ear.heard() == []
    assert is_standing(bench)


async def test_withdrawn_claim_brings_what_it_got(bench: Bench, ear: Ear) -> None:
    """A worker that leaves gets what it was handed before, and nothing after."""
    worker = bench.worker()
    await stand(bench)
    assert (await worker.withdraw(nonce="x")).grants == []
    assert not is_standing(bench)
    await bench.submit("a")
    assert bench.status("a") == "queued"
    assert (await worker.withdraw(nonce="x")).grants == []  # it grants nothing itself
    assert bench.status("a") == "queued"
    await bench.claim()
    await stand(bench, "y")
    await bench.submit("b")
    (grant,) = (await worker.withdraw(nonce="y")).grants
    assert grant.job_id == "b"


async def test_claim_stands_for_its_time(bench: Bench, ear: Ear) -> None:
    """A worker that stopped is handed at most one job more, and only as long as its claim stands."""
    await stand(bench)
    bench.let_time_pass(11)
    assert not is_standing(bench)
    await bench.submit("a")
    assert ear.heard() == [("chatq:wake", "p.default")]


async def test_idle_worker_writes_little(bench: Bench) -> None:
    """A claim that stands is written anew when half of its time is over, not at each look."""
    await stand(bench)
    bench.let_time_pass(4)
    before = bench.raw.pttl("chatq:standing:w1")
    await stand(bench)
    assert 0 < bench.raw.pttl("chatq:standing:w1") <= before
    bench.let_time_pass(2)
    await stand(bench)
    assert bench.raw.pttl("chatq:standing:w1") > before


async def test_suspended_fleet_is_handed_nothing(bench: Bench, ear: Ear) -> None:
    """`rq suspend` holds what stands, too."""
    await stand(bench)
    bench.raw.set("rq:suspended", 1, ex=60)
    await bench.submit("a")
    assert bench.status("a") == "queued"
    assert ear.heard() == []


async def test_large_job_is_fetched(bench: Bench, ear: Ear) -> None:
    """Buffers of subscribers are bounded: of a large job the worker is told only that there is one."""
    big = bench.new("a", request=b'{"x":"%s"}' % (b"x" * 70_000))
    worker = bench.worker(max_data_bytes=100_000)
    await worker.claim(nonce="x", want=5, load={"p": Load()}, stands_s=10)
    await bench.jobs.enqueue([big])
    assert ear.heard() == [("chatq:grants:w1", "x")]
    assert read_handed(b"x") == ("x", None)
    (grant,) = (await worker.claim(nonce="x", want=5, load={"p": Load()})).grants
    assert len(grant.data) > 70_000


async def test_suspect_is_not_handed_over(bench: Bench, ear: Ear) -> None:
    """Jobs whose workers died go through the quarantine, which counts what runs beside them."""
    await stand(bench)
    bench.raw.rpush("chatq:quarantine:p", "s")
    await bench.submit("a")
    _, claimed = read(ear.heard())
    assert claimed is not None
    assert [grant.job_id for grant in claimed.grants] == ["a"]


BROKEN: list[Any] = ["garbage", "[]", '["w1"]', '["w1","x",5,1,1,"light",0,"",0,"many"]', "{}", "1", '"w1"']


@pytest.mark.parametrize("broken", BROKEN)
async def test_broken_claim_stands_for_nothing(bench: Bench, ear: Ear, broken: str) -> None:
    """The job is in, and the workers are woken."""
    await stand(bench)
    bench.raw.set("chatq:standing:w1", broken, ex=10)
    assert await bench.submit("a") == [1]
    assert ear.heard() == [("chatq:wake", "p.default")]
    assert [grant.job_id for grant in (await stand(bench)).grants] == ["a"]


@pytest.mark.parametrize("key", ["chatq:standing", "chatq:standing:w1", "chatq:unwoken"])
async def test_key_of_another_type_costs_only_the_hand_over(bench: Bench, ear: Ear, key: str) -> None:
    await stand(bench)
    bench.raw.delete(key)
    bench.raw.hset(key, "a", "b")
    bench.raw.expire(key, 60)
    assert await bench.submit("a") == [1]
    assert ("chatq:wake", "p.default") in ear.heard()
    assert [grant.job_id for grant in (await stand(bench)).grants] == ["a"]
    assert (await stand(bench, "y")).grants == []


async def test_user_without_pubsub_wakes(bench: Bench, ear: Ear, any_redis_server: RedisServer) -> None:
    """Who may not ask who listens hands nothing over."""
    await stand(bench)
    acl: Any = bench.raw
    acl.acl_setuser(
        "shy", enabled=True, nopass=True, commands=["+@all", "-pubsub"], keys=["*"], channels=["*"]
    )
    try:
        url = any_redis_server.url.replace("://", "://shy:none@")
        store = await Store.open(url, RedisSettings(url=url, retry_s=5))
        jobs = JobStore(store, result_ttl_s=9, failure_ttl_s=9, max_events=0, bounds=AdmissionSettings())
        await jobs.enqueue([bench.new("a")])
        await store.close()
    finally:
        acl.acl_deluser("shy")
    assert ear.heard() == [("chatq:wake", "p.default")]


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"x",
        b"x 1",
        b"x 1 0",
        b"x 1 0 -1 -\n",
        b"x a 0 -1\n",
        b"x 1 0 -1 5 5 5 x\n",
        b"\xff\xfe\n\xff",
        b"x\n",
    ],
)
def test_unreadable_message_is_a_reason_to_look(message: bytes) -> None:
    """Anybody can publish."""
    assert read_handed(message)[1] is None


def test_message_without_a_grant() -> None:
    """What held the job back is told."""
    nonce, claimed = read_handed(b"x 1700000000000000 0 250\n")
    assert (nonce, claimed) == ("x", Claimed([], has_more=False, look_again_s=0.25))
