"""The mark of a job whose end is told by a webhook: whoever ends it, it is noted in the same step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.shared.store.conftest import Bench

DUE = "chatq:webhooks:due"


async def submit_marked(bench: Bench, *ids: str, channel: str = "", **fields: Any) -> None:
    jobs = [bench.new(job_id, **fields)._replace(has_webhook=True) for job_id in ids]
    await bench.jobs.enqueue(jobs, channel=channel)


async def answered(bench: Bench) -> None:
    (grant,) = await bench.claim()
    await bench.end(grant)


async def failed(bench: Bench) -> None:
    (grant,) = await bench.claim()
    await bench.end(grant, "failed")


async def cancelled(bench: Bench) -> None:
    await bench.jobs.cancel(["a"])


async def cancelled_in_progress(bench: Bench) -> None:
    await bench.claim()
    await bench.jobs.cancel(["a"])


async def expired(bench: Bench) -> None:
    bench.let_time_pass(10)
    await bench.keeper().promote()


async def expired_at_claim(bench: Bench) -> None:
    bench.let_time_pass(10)
    assert await bench.claim() == []


async def refused_everywhere(bench: Bench) -> None:
    (grant,) = await bench.claim()
    assert await bench.give_back(grant, "next", error=b'{"code":"x"}') == "failed"


async def poisoned(bench: Bench) -> None:
    for _ in range(4):
        await bench.claim()
        bench.expire_leases()
        await bench.keeper().rescue()


ENDS: list[Callable[[Bench], Awaitable[None]]] = [
    answered, failed, cancelled, cancelled_in_progress, expired, expired_at_claim, refused_everywhere, poisoned,
]  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
async def test_end_of_any_kind_is_due_at_once(
    new_bench: Bench, end: Callable[[Bench], Awaitable[None]]
) -> None:
    """By the script that ends the job; before, nothing is due."""
    await submit_marked(new_bench, "a", expires_in_ms=5_000)
    assert new_bench.raw.exists(DUE) == 0
    await end(new_bench)
    assert new_bench.status("a") in ("finished", "failed", "canceled")
    ((what, at),) = new_bench.raw.zrange(DUE, 0, -1, withscores=True)
    seconds, micros = new_bench.raw.time()
    assert (what, at) == ("job:a", pytest.approx(seconds * 1000 + micros / 1000, abs=60_000))


async def test_job_without_mark_is_never_due(bench: Bench) -> None:
    await bench.submit("a")
    await answered(bench)
    assert bench.raw.exists(DUE) == 0


async def test_waiters_are_told_beside_the_webhook(bench: Bench) -> None:
    pubsub = bench.raw.pubsub(ignore_subscribe_messages=True)
    pubsub.subscribe("chatq:done:w")
    pubsub.get_message(timeout=5)
    await submit_marked(bench, "a", "b", channel="chatq:done:w")
    for grant in await bench.claim():
        await bench.end(grant)
    told = {pubsub.get_message(timeout=5)["data"] for _ in range(2)}  # type: ignore[index]
    assert told == {"a", "b"}
    assert bench.raw.zrange(DUE, 0, -1) == ["job:a", "job:b"]
    pubsub.close()


async def test_many_waiters_do_not_push_the_mark_out(bench: Bench) -> None:
    """Of channels the newest eight are kept; the mark is none of them."""
    await submit_marked(bench, "a", channel="c0")
    for n in range(1, 12):
        await bench.jobs.watch(["a"], channel=f"c{n}")
    await bench.jobs.watch(["a"], channel="c11")
    kept = [f"c{n}" for n in range(4, 12)]
    assert bench.raw.hget("rq:job:a", "cq_notify") == " ".join(["chatq:webhooks", *kept])


async def test_broken_outbox_costs_no_outcome(bench: Bench) -> None:
    bench.raw.set(DUE, "junk", ex=60)
    await submit_marked(bench, "a")
    await answered(bench)
    assert bench.status("a") == "finished"
    bench.raw.delete(DUE)
