"""The outbox of webhooks: an end is with one deliverer at a time, and is never lost."""

from __future__ import annotations

import orjson
import pytest

from shared.job import JobState
from shared.store.webhooks import (
    MAX_LOG,
    DeliveryState,
    Due,
    Settlement,
    WebhookOutbox,
    ref_of,
)
from tests.shared.store.conftest import Bench

LEASE_S = 70.0


@pytest.fixture
def outbox(bench: Bench) -> WebhookOutbox:
    return WebhookOutbox(bench.store)


async def mark(outbox: WebhookOutbox, ref: str, at: float) -> None:
    """What the script does that ends an object."""
    await outbox._store.client.zadd("chatq:webhooks:due", {ref: at * 1000})


async def claim(outbox: WebhookOutbox, token: str = "t1", *, most: int = 10) -> list[Due]:
    return await outbox.claim(most, token=token, lease_s=LEASE_S, retry_s=5)


async def settle(outbox: WebhookOutbox, due: Due, state: DeliveryState, **fields: object) -> bool:
    (is_ours,) = await outbox.settle([Settlement(due, state, **fields)], retry_s=5)  # type: ignore[arg-type]
    return is_ours


async def test_what_is_due_is_claimed_once(outbox: WebhookOutbox) -> None:
    """And not what is due later."""
    await mark(outbox, "job:a", 0)
    await mark(outbox, "batch:batch_b", 4e9)
    assert await claim(outbox) == [Due("job:a", "t1", 1, "")]
    assert await claim(outbox, "t2") == []


async def test_two_deliverers_share_what_is_due(bench: Bench, outbox: WebhookOutbox) -> None:
    for number in range(10):
        await mark(outbox, f"job:{number}", number)
    mine, others = await claim(outbox, "t1", most=6), await claim(WebhookOutbox(bench.store), "t2", most=6)
    assert [due.ref for due in mine + others] == [f"job:{number}" for number in range(10)]


async def test_claim_whose_reply_was_lost_gets_the_same_again(outbox: WebhookOutbox) -> None:
    """With the attempt counted once."""
    await mark(outbox, "job:a", 0)
    first = await claim(outbox)
    await mark(outbox, "job:b", 0)
    assert await claim(outbox) == first == [Due("job:a", "t1", 1, "")]


async def test_end_of_a_dead_deliverer_is_due_after_its_lease(bench: Bench, outbox: WebhookOutbox) -> None:
    """As a further attempt: one who dies of it would do so for ever otherwise."""
    await mark(outbox, "job:a", 0)
    await claim(outbox)
    bench.let_time_pass(LEASE_S - 5)
    assert await claim(outbox, "t2") == []
    bench.let_time_pass(10)
    assert await claim(outbox, "t3") == [Due("job:a", "t3", 2, "")]


async def test_deliverer_that_lost_its_lease_is_not_heard(bench: Bench, outbox: WebhookOutbox) -> None:
    await mark(outbox, "job:a", 0)
    (late,) = await claim(outbox)
    bench.let_time_pass(LEASE_S + 1)
    (due,) = await claim(outbox, "t2")
    assert not await settle(outbox, late, DeliveryState.DELIVERED, told="evt_1")
    assert await settle(outbox, due, DeliveryState.DELIVERED, told="evt_1")


async def test_late_settlement_counts_while_nobody_else_has_it(bench: Bench, outbox: WebhookOutbox) -> None:
    """What was told over an outage of Redis need not be told again."""
    await mark(outbox, "job:a", 0)
    (due,) = await claim(outbox)
    bench.let_time_pass(LEASE_S + 1)
    assert await settle(outbox, due, DeliveryState.DELIVERED)
    assert await claim(outbox, "t2") == []


async def test_settlement_sent_twice_counts_once(bench: Bench, outbox: WebhookOutbox) -> None:
    await mark(outbox, "job:a", 0)
    (due,) = await claim(outbox)
    entry = {"attempt": 1}
    assert await settle(outbox, due, DeliveryState.PENDING, delay_s=100, entry=entry)
    assert not await settle(outbox, due, DeliveryState.PENDING, delay_s=100, entry=entry)
    delivery = await outbox.read("job:a")
    assert delivery is not None
    assert delivery.log == [entry]


async def test_what_is_tried_again_comes_back_after_its_delay(bench: Bench, outbox: WebhookOutbox) -> None:
    await mark(outbox, "job:a", 0)
    (due,) = await claim(outbox)
    await settle(outbox, due, DeliveryState.PENDING, delay_s=100)
    bench.let_time_pass(95)
    assert await claim(outbox, "t2") == []
    bench.let_time_pass(10)
    assert await claim(outbox, "t3") == [Due("job:a", "t3", 2, "")]


async def test_free_attempt_is_given_back(outbox: WebhookOutbox) -> None:
    await mark(outbox, "job:a", 0)
    (due,) = await claim(outbox)
    await settle(outbox, due, DeliveryState.PENDING, is_free=True)
    assert await claim(outbox, "t2") == [Due("job:a", "t2", 1, "")]


async def test_mark_during_a_call_waits_for_its_lease(bench: Bench, outbox: WebhookOutbox) -> None:
    """An object that ends again (a replayed dead letter) is told again, but never by two at the same time."""
    await mark(outbox, "job:a", 0)
    (due,) = await claim(outbox)
    await mark(outbox, "job:a", 0)
    assert await claim(outbox, "t2") == []
    await settle(outbox, due, DeliveryState.DELIVERED, told="evt_1")
    bench.let_time_pass(LEASE_S)
    assert await claim(outbox, "t3") == [Due("job:a", "t3", 1, "evt_1")]


async def test_attempts_begin_anew_for_a_new_end(outbox: WebhookOutbox) -> None:
    await mark(outbox, "job:a", 0)
    (due,) = await claim(outbox)
    await settle(outbox, due, DeliveryState.FAILED)
    await mark(outbox, "job:a", 0)
    assert await claim(outbox, "t2") == [Due("job:a", "t2", 1, "")]


async def test_what_was_told_is_told_again_when_asked_for(outbox: WebhookOutbox) -> None:
    await mark(outbox, "job:a", 0)
    (due,) = await claim(outbox)
    await settle(outbox, due, DeliveryState.DELIVERED, told="evt_1")
    await outbox.tell_again("job:a")
    assert await claim(outbox, "t2") == [Due("job:a", "t2", 1, "")]


async def test_delivery_can_be_read(bench: Bench, outbox: WebhookOutbox) -> None:
    """Its state, its next time, whose it is, and the calls."""
    assert await outbox.read("job:a") is None
    await mark(outbox, "job:a", 0)
    (due,) = await claim(outbox)
    entry = {"attempt": 1, "status": 500}
    await settle(outbox, due, DeliveryState.PENDING, delay_s=60, entry=entry, client="alice")
    delivery = await outbox.read("job:a")
    assert delivery is not None
    assert (delivery.state, delivery.client, delivery.attempts) == (DeliveryState.PENDING, "alice", 1)
    assert delivery.log == [entry]
    assert delivery.next_at is not None
    assert delivery.next_at == pytest.approx(bench.raw.time()[0] + 60, abs=5)
    assert await outbox.waiting(10) == [("job:a", delivery.next_at)]


async def test_log_is_capped_and_ends(bench: Bench, outbox: WebhookOutbox) -> None:
    """The newest calls are kept, for a while."""
    await mark(outbox, "job:a", 0)
    for number in range(MAX_LOG + 5):
        (due,) = await claim(outbox, f"t{number}")
        await settle(outbox, due, DeliveryState.PENDING, entry={"attempt": number})
    delivery = await outbox.read("job:a")
    assert delivery is not None
    assert [entry["attempt"] for entry in delivery.log] == list(range(5, MAX_LOG + 5))
    for key in ("chatq:webhook:job:a", "chatq:webhook-log:job:a"):
        assert 0 < bench.raw.ttl(key) <= 8 * 86_400


async def test_junk_in_the_outbox_is_dropped(bench: Bench, outbox: WebhookOutbox) -> None:
    """It would be met again and again; what is sound goes on."""
    bench.raw.zadd("chatq:webhooks:due", {"no ref": 0, "job:bad id": 0, "job:odd": 1, "job:good": 2})
    bench.raw.set("chatq:webhook:job:odd", "no hash", ex=100)
    assert [due.ref for due in await claim(outbox)] == ["job:good"]
    assert bench.raw.zcard("chatq:webhooks:due") == 0
    assert bench.raw.hget("chatq:totals", "broken") == "3"


async def test_junk_in_a_delivery_is_read_as_nothing(bench: Bench, outbox: WebhookOutbox) -> None:
    bench.raw.hset("chatq:webhook:job:a", mapping={"state": "odd", "attempts": "many"})
    bench.raw.rpush("chatq:webhook-log:job:a", "no json", "[1]", '{"attempt": 1}')
    bench.raw.expire("chatq:webhook:job:a", 100)
    bench.raw.expire("chatq:webhook-log:job:a", 100)
    delivery = await outbox.read("job:a")
    assert delivery is not None
    assert (delivery.state, delivery.attempts, delivery.client) == (DeliveryState.NOTHING, 0, None)
    assert delivery.log == [{"attempt": 1}]


def test_id_tells_the_ref() -> None:
    assert [ref_of(one) for one in ("0a1b", "batch_1", "resp_1", "a/b", "")] == [
        "job:0a1b", "batch:batch_1", "job:1", None, None,
    ]  # fmt: skip


async def test_end_of_a_job_is_read(bench: Bench, outbox: WebhookOutbox) -> None:
    """Once it has ended, and only of one that names an address."""
    await bench.submit("a")
    assert await outbox.read_job("a") is None
    info = orjson.dumps({"model": "m", "client": "alice", "webhook": "https://example.com/hook"})
    bench.raw.hset("rq:job:a", "cq_info", info)
    assert await outbox.read_job("a") is None
    (grant,) = await bench.claim()
    await bench.end(grant)
    job = await outbox.read_job("a")
    assert job is not None
    assert (job.state, job.client, job.url) == (JobState.COMPLETED, "alice", "https://example.com/hook")
    assert job.ended_at == pytest.approx(bench.raw.time()[0], abs=5)
    bench.raw.hset("rq:job:a", "cq_info", '{"webhook": 1}')
    assert await outbox.read_job("a") is None


async def test_no_hash_is_no_job(bench: Bench, outbox: WebhookOutbox) -> None:
    bench.raw.set("rq:job:a", "odd", ex=100)
    assert await outbox.read_job("a") is None
    assert await outbox.read_job("b") is None
