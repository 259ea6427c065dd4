"""Any sequence of calls: what Redis holds agrees with a small model of jobs after every one of them.

`CHATQ_PROPERTY_EXAMPLES` sets how many sequences are tried (and lets them be new ones each time).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from shared.store.call_result import Blame
from shared.store.grants import QUARANTINE_FULL, Claimed, Load, ReleaseReason, read_handed
from shared.store.jobs import Accepted
from shared.store.limits import EPOCH_S
from tests.shared.store.conftest import Bench, open_bench
from tests.shared.store.model import (
    Model,
    ModelGrant,
    ModelJob,
    Snapshot,
    check_counters,
    check_grants,
    check_lots,
    check_places,
    check_slots,
    provider_of,
)
from tests.support import RedisServer

EXAMPLES = os.environ.get("CHATQ_PROPERTY_EXAMPLES")
SEQUENCES, STEPS = 50, 50

QUEUES = ("p.interactive", "p.default", "q.default")
PROVIDERS = ("p", "q")
WORKERS = ("w1", "w2")
ROUTES: tuple[tuple[tuple[str, str], ...], ...] = ((), (("q", "m"),), (("p", "n"), ("q", "m")))

indexes = st.integers(0, 10_000)


class Scripts(RuleBasedStateMachine):
    """Two workers, two providers, two models, two clients."""

    def __init__(self, bench: Bench, runner: asyncio.Runner) -> None:
        super().__init__()
        self.bench, self.runner, self.model = bench, runner, Model()
        self.slots: dict[str, int] = {}
        self.standing: dict[str, str] = {}
        """Worker whose claim stands, or did until its time was over, and its nonce."""
        self.told = bench.raw.pubsub(ignore_subscribe_messages=True)
        for worker in WORKERS:
            self.told.subscribe(f"chatq:grants:{worker}")
            self.told.get_message(timeout=5)
        bench.raw.flushall()
        bench.set_policy(
            min_calls=3, open_ms=10_000, probes=2, failover_after_ms=2000, credential_open_ms=30_000
        )
        bench.serve(*QUEUES)
        for provider in PROVIDERS:
            bench.raw.hset("chatq:accounts", provider, provider)
            self.set_limits(f"account:{provider}", 6, None)
        self.keeper = bench.keeper(queues=QUEUES)

    def run(self, what: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(what)

    def now_ms(self) -> float:
        seconds, microseconds = self.bench.raw.time()
        return seconds * 1000 + microseconds / 1000

    def pick(self, index: int) -> ModelGrant | None:
        """One of the grants that are held, for three indexes of four, else any so far; None if there is none.

        Rules without anything to do do nothing: what may be drawn must not hang on Redis's clock.
        """
        held = self.model.held()
        grants = held if held and index % 4 else self.model.grants
        return grants[index // 4 % len(grants)] if grants else None

    def pick_job(self, index: int) -> ModelJob:
        """One of the living jobs, for three indexes of four, else any so far."""
        jobs = list(self.model.jobs.values())
        living = [job for job in jobs if job.is_live]
        jobs = living if living and index % 4 else jobs
        return jobs[index // 4 % len(jobs)]

    def load_of(self, worker: str) -> dict[str, Load]:
        load = {}
        for provider in PROVIDERS:
            mine = [
                g for g in self.model.held() if g.worker == worker and provider_of(g.grant.queue) == provider
            ]
            suspects = [g.grant.abandoned for g in mine if g.grant.abandoned >= 2]
            is_full = any(abandoned > 2 for abandoned in suspects)
            load[provider] = Load(len(mine), QUARANTINE_FULL if is_full else len(suspects))
        return load

    def follow(self) -> None:
        """Takes over what only the clock decides: jobs that ended late, moved, came due."""
        until_ms = self.now_ms()
        seen = Snapshot(self.bench.raw)
        for job in self.model.jobs.values():
            found = seen.job(job.id)
            if job.status in ("queued", "scheduled") and found["status"] == "failed":
                assert found["cq_state"] == "expired", job
                assert float(found["cq_deadline"]) <= until_ms, job
                job.end("failed", "expired")
            elif job.status == "scheduled" and found["status"] == "queued":
                job.status = "queued"
            if job.status == "queued" and found["origin"] != job.queue:
                assert "cq_route" in found, job
                job.queue = found["origin"]

    @initialize()
    def start(self) -> None:
        """Some jobs wait, so that there is something to do from the first step on."""
        self.enqueue("p.default", "a", "m", ROUTES[1], 3, 20_000, 3)
        self.enqueue("p.default", "b", "m", (), 3, 0, 3)
        self.enqueue("q.default", "a", "n", (), 3, 0, 3)

    @rule(
        queue=st.sampled_from(QUEUES),
        client=st.sampled_from("ab"),
        model=st.sampled_from("mn"),
        route=st.sampled_from(ROUTES),
        max_attempts=st.sampled_from([1, 3, 3]),
        expires_in_ms=st.sampled_from([0, 0, 20_000]),
        n=st.integers(1, 4),
    )
    def enqueue(
        self, queue: str, client: str, model: str, route: Any, max_attempts: int, expires_in_ms: int, n: int
    ) -> None:
        jobs = [
            self.bench.new(
                f"j{len(self.model.jobs) + i}", queue=queue, client=client, model=model, fallbacks=route,
                max_attempts=max_attempts, expires_in_ms=expires_in_ms,
            )
            for i in range(n)
        ]  # fmt: skip
        for job in jobs:
            self.model.jobs[job.id] = ModelJob(
                job.id, queue, len(job.request_json), max_attempts, bool(expires_in_ms)
            )
        before, since_ms = Snapshot(self.bench.raw), self.now_ms()
        assert self.run(self.bench.jobs.enqueue(jobs)).codes == [Accepted.NEW] * n
        self.take_handed(before, since_ms, may_be=n == 1)

    def take_handed(self, before: Snapshot, since_ms: float, *, may_be: bool) -> None:
        """The claim that was made with an enqueue, if one stood."""
        handed = {*before.zsets.get("chatq:standing", ())} - {*self.bench.raw.zrange("chatq:standing", 0, -1)}
        assert len(handed) <= may_be
        for worker in handed:
            told: Any = self.told.get_message(timeout=5)
            assert told["channel"] == f"chatq:grants:{worker}"
            nonce, claimed = read_handed(told["data"].encode())
            assert claimed is not None
            assert nonce == self.standing.pop(worker)
            assert len(claimed.grants) <= 1
            self.take(worker, claimed, before, since_ms)

    @rule(index=indexes)
    def enqueue_again(self, index: int) -> None:
        job = self.pick_job(index)
        known = Accepted.KNOWN if job.is_live else Accepted.ENDED
        before, since_ms = Snapshot(self.bench.raw), self.now_ms()
        assert self.run(self.bench.submit(job.id)) == [known]
        self.take_handed(before, since_ms, may_be=True)

    @rule(
        worker=st.sampled_from(WORKERS),
        want=st.integers(1, 8),
        is_sent_twice=st.booleans(),
        stands_s=st.sampled_from([0, 5]),
    )
    def claim(self, worker: str, want: int, is_sent_twice: bool, stands_s: float) -> None:
        before, since_ms = Snapshot(self.bench.raw), self.now_ms()
        self.bench.claims += 1
        nonce = self.standing.pop(worker, f"n{self.bench.claims}")
        call = {"nonce": nonce, "want": want, "load": self.load_of(worker), "stands_s": stands_s}
        store = self.bench.worker(worker)
        claimed = self.run(store.claim(**call))
        if is_sent_twice and claimed.grants:
            again = self.run(store.claim(**call))
            assert [g.member for g in again.grants] == [g.member for g in claimed.grants]
        assert len(claimed.grants) <= want
        if stands_s and not claimed.grants:
            self.standing[worker] = nonce
        self.take(worker, claimed, before, since_ms)

    def take(self, worker: str, claimed: Claimed, before: Snapshot, since_ms: float) -> None:
        """What a claim granted, or was handed."""
        self.bench.note(claimed.grants)
        for grant in claimed.grants:
            job = self.model.jobs[grant.job_id]
            assert job.status == "queued", job
            assert grant.deadline_at is None or grant.deadline_at * 1000 > since_ms, job
            self.check_open(before, grant.queue)
            job.attempts, job.grants = job.attempts + 1, job.grants + 1
            job.status, job.token, job.queue = "started", grant.token, grant.queue
            assert (grant.attempts, grant.abandoned) == (job.attempts, job.abandoned)
            self.model.grants.append(ModelGrant(grant, job, worker))
        self.check_concurrency(before)
        self.follow()

    @rule(worker=st.sampled_from(WORKERS))
    def withdraw(self, worker: str) -> None:
        nonce = self.standing.pop(worker, "none")
        assert self.run(self.bench.worker(worker).withdraw(nonce=nonce)).grants == []

    def check_open(self, before: Snapshot, queue: str) -> None:
        """No grant of what is closed."""
        provider, now_ms = provider_of(queue), self.now_ms() - 1000 * EPOCH_S
        for scope in (f"provider:{provider}", f"account:{provider}"):
            state = before.scope(scope)
            is_open = state.get("breaker") == "open"
            until = max(
                float(state.get("closed_until", 0)), float(state.get("open_until", 0)) if is_open else 0
            )
            assert until <= now_ms, (scope, state)

    def check_concurrency(self, before: Snapshot) -> None:
        """No slot beyond a scope's limit, unless it was over it before."""
        after = Snapshot(self.bench.raw)
        for scope, most in self.slots.items():
            assert len(after.slots(scope)) <= max(most, len(before.slots(scope))), scope

    @rule(
        index=indexes,
        is_good=st.booleans(),
        shown=st.sampled_from(["good", "failure", "credentials", "none"]),
        times=st.integers(1, 2),
    )
    def finalize(self, index: int, is_good: bool, shown: str, times: int) -> None:
        if (g := self.pick(index)) is None:
            return
        words = b""
        if is_good and shown != "none":
            words = self.bench.shown(g.grant, prompt=12, output=30)
        elif shown in ("failure", "credentials"):
            blame = Blame("model" if shown == "failure" else "account", shown)  # type: ignore[arg-type]
            words = self.bench.shown(g.grant, "bad" if shown == "failure" else "refused", blame=blame)
        for _ in range(times):
            status = "finished" if is_good else "failed"
            expected = self.model.code_of_outcome(g, status)
            code = self.run(self.bench.end(g.grant, "completed" if is_good else "failed", shown=words))
            assert code == expected, g
            self.model.take_outcome(g, status)

    @rule(
        index=indexes,
        reason=st.sampled_from(["backoff", "rate_limited", "next", "elsewhere", "drain"]),
        delay_ms=st.sampled_from([0, 500, 5000]),
        scope=st.sampled_from(["model", "account", "provider"]),
        times=st.integers(1, 2),
    )
    def release(self, index: int, reason: ReleaseReason, delay_ms: int, scope: Any, times: int) -> None:
        if (g := self.pick(index)) is None:
            return
        job, gives_back = g.job, reason in ("rate_limited", "drain")
        blame = Blame(scope, "rate", wait_s=delay_ms / 1000)
        words = self.bench.shown(g.grant, "limited", blame=blame) if reason == "rate_limited" else b""
        for _ in range(times):
            code = self.run(
                self.bench.give_back(
                    g.grant,
                    reason,
                    delay_ms=delay_ms,
                    gives_attempt_back=gives_back,
                    error=b"{}",
                    shown=words,
                )
            )
            if not (g.is_held and job.is_live):
                assert code == ("stale" if job.is_live else "revoked"), g
            else:
                assert code in {"drain": ["ok"], "next": ["moved", "failed"]}.get(
                    reason, ["ok", "moved", "failed"]
                )
                self.take_release(g, code, gives_back=gives_back)
            g.is_held = False
            self.follow()

    def take_release(self, g: ModelGrant, code: str, *, gives_back: bool) -> None:
        job, found = g.job, self.bench.raw.hgetall(f"rq:job:{g.job.id}")
        job.attempts -= int(gives_back)
        if code == "failed":
            assert found["status"] == "failed"
            job.end("failed", found["cq_state"])
        else:
            assert found["status"] in ("queued", "scheduled")
            assert code == "moved" or found["origin"] == job.queue
            job.status, job.queue = found["status"], found["origin"]

    @rule(chosen=st.sets(indexes, min_size=1, max_size=4), are_rescued=st.booleans())
    def leases_run_out(self, chosen: set[int], are_rescued: bool) -> None:
        held = self.model.held()
        if not held:
            return
        members = {held[index % len(held)].grant.member for index in chosen}
        self.bench.raw.zadd("chatq:leases", dict.fromkeys(members, 1))
        if are_rescued:
            self.rescue()

    @rule()
    def rescue(self) -> None:
        before = self.bench.raw.zrange("chatq:leases", 0, -1, withscores=True)
        since_ms = self.now_ms()
        rescued = self.run(self.keeper.rescue())
        self.model.rescue({member for member, ends_ms in before if ends_ms <= since_ms})
        jobs = self.model.jobs
        assert all(jobs[job_id].status == "queued" and not jobs[job_id].is_suspect for job_id in rescued.back)
        assert all(
            jobs[job_id].status == "queued" and jobs[job_id].is_suspect for job_id in rescued.quarantined
        )
        assert all(jobs[job_id].status == "failed" for job_id in rescued.failed)

    @rule()
    def promote(self) -> None:
        since_ms = self.now_ms()
        self.run(self.keeper.promote())
        self.follow()
        deadlines = self.bench.raw.zrangebyscore("chatq:deadlines", 0, since_ms)
        assert deadlines == []
        due = [self.bench.raw.zcount(f"rq:scheduled:{queue}", 0, since_ms / 1000) for queue in QUEUES]
        assert sum(due) == 0

    @rule(index=indexes)
    def cancel(self, index: int) -> None:
        job = self.pick_job(index)
        ((_, after),) = self.run(self.bench.jobs.cancel([job.id]))
        if job.is_live:
            job.end("canceled")
        assert after == job.ended_as

    @rule(seconds=st.sampled_from([0.2, 1.0, 6.0, 35.0]))
    def time_passes(self, seconds: float) -> None:
        self.bench.let_time_pass(seconds)

    @rule(
        scope=st.sampled_from(["account:p", "account:q", "model:p/m", "model:q/m", "client:a"]),
        concurrency=st.sampled_from([1, 2, 5]),
        rpm=st.sampled_from([None, 0, 60, 600]),
    )
    def set_limits(self, scope: str, concurrency: int, rpm: int | None) -> None:
        self.slots[scope] = concurrency
        self.run(self.bench.limits.set(scope, {"concurrency": concurrency, "rpm": rpm}))

    @invariant()
    def redis_agrees(self) -> None:
        seen = Snapshot(self.bench.raw)
        check_places(self.model, seen)
        check_lots(seen)
        check_counters(self.model, seen)
        check_slots(self.model, seen, always_counted=PROVIDERS)
        check_grants(self.model)

    def teardown(self) -> None:
        """Whatever happened: once upstreams answer, everything ends, and nothing is left."""
        self.told.close()
        for _ in range(300):
            if not any(job.is_live for job in self.model.jobs.values()) and not self.model.held():
                break
            self.bench.let_time_pass(31)
            self.rescue()
            self.promote()
            self.claim("w1", 64, False, 0)
            for g in self.model.held():
                self.run(self.bench.answer(g.grant, prompt=12, output=30))
                self.model.take_outcome(g, "finished")
        self.redis_agrees()
        assert not [job for job in self.model.jobs.values() if job.is_live]
        self.claim("w1", 64, False, 0)
        seen = Snapshot(self.bench.raw)
        assert [key for key in seen.sets if key.startswith("chatq:slots:")] == []
        assert seen.leases == {}
        assert "chatq:payload" not in seen.hashes


@pytest.mark.timeout(3600 if EXAMPLES else 120)
def test_redis_agrees_with_the_model(any_redis_url: str, any_redis_server: RedisServer) -> None:
    """After every call of any sequence of calls, and in the end all jobs end."""

    async def open_one() -> tuple[Any, Bench]:
        context = open_bench(any_redis_server, result_ttl_s=10**7)
        return context, await context.__aenter__()

    profile = settings(
        max_examples=int(EXAMPLES or SEQUENCES),
        stateful_step_count=STEPS,
        derandomize=not EXAMPLES,
        phases=[Phase.generate, Phase.shrink] if EXAMPLES else [Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    with asyncio.Runner() as runner:
        context, bench = runner.run(open_one())
        try:
            run_state_machine_as_test(lambda: Scripts(bench, runner), settings=profile)
        finally:
            runner.run(context.__aexit__(None, None, None))
            bench.raw.flushall()
