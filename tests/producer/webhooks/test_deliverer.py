"""Deliverer: each end is told until it has arrived or been given up, whatever dies or hangs meanwhile."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from pathlib import Path

import pytest
import redis

from producer.webhooks.event import Event
from producer.webhooks.sender import Answer, Sender
from shared.background import end_tasks
from shared.errors import StoreUnavailable
from shared.settings import RedisSettings
from shared.store.connect import Store
from shared.store.webhooks import DeliveryState
from tests.producer.receiver import SECRET, Received, Receiver, webhook_settings
from tests.producer.webhooks.conftest import MakeOffice, Office
from tests.support import SERVERS, RedisServer, wait_until


def errors(log: list[dict[str, object]]) -> list[object]:
    return [entry["error"] for entry in log]


async def test_end_is_told_once(office: Office, receiver: Receiver) -> None:
    """And the log says how it went."""
    async with office.deliverer():
        ref = await office.add("batch_1", receiver.url)
        delivery = await office.ended(ref, DeliveryState.DELIVERED)
        await office.mark(ref)  # it ended once, and was marked twice
        await office.reached(ref, lambda now: now.attempts == 0)
    (call,) = receiver.calls
    assert call.event == {
        "id": call.id,
        "object": "event",
        "created_at": 1_700_000_000,
        "type": "batch.completed",
        "data": {"id": "batch_1"},
    }
    (entry,) = delivery.log
    assert entry | {"at": 0, "duration_s": 0} == {
        "attempt": 1, "at": 0, "event": call.id, "type": "batch.completed", "status": 200, "error": None,
        "duration_s": 0,
    }  # fmt: skip
    assert delivery.client == "alice"


async def test_end_is_told_until_it_arrives(office: Office, receiver: Receiver) -> None:
    """Under the same id, with the same body, each time freshly signed."""
    receiver.answer(500, 429, 302, 200)
    async with office.deliverer():
        ref = await office.add("batch_1", receiver.url)
        delivery = await office.ended(ref, DeliveryState.DELIVERED)
    assert errors(delivery.log) == ["http_status", "http_status", "redirected", None]
    assert [entry["status"] for entry in delivery.log] == [500, 429, 302, 200]
    assert len(receiver.calls) == 4
    assert len({(call.id, call.body) for call in receiver.calls}) == 1


async def test_receiver_that_never_takes_it_is_given_up(make_office: MakeOffice, receiver: Receiver) -> None:
    receiver.answer(503)
    office = make_office(max_attempts=3)
    async with office.deliverer():
        ref = await office.add("batch_1", receiver.url)
        delivery = await office.ended(ref, DeliveryState.FAILED)
    assert len(receiver.calls) == len(delivery.log) == 3
    assert await office.outbox.waiting(10) == []


async def test_gone_stops_at_once(office: Office, receiver: Receiver) -> None:
    receiver.answer(410)
    async with office.deliverer():
        delivery = await office.ended(await office.add("batch_1", receiver.url), DeliveryState.FAILED)
    assert len(receiver.calls) == len(delivery.log) == 1


async def test_wait_that_is_asked_for_is_kept(make_office: MakeOffice, receiver: Receiver) -> None:
    """Up to the longest delay."""
    receiver.answer(503, retry_after="300")
    office = make_office(longest_backoff_s=200.0)
    async with office.deliverer():
        ref = await office.add("batch_1", receiver.url)
        delivery = await office.reached(ref, lambda now: bool(now.log))
    assert delivery.next_at == pytest.approx(delivery.log[0]["at"] + 200, abs=5)


async def test_private_target_is_never_called(make_office: MakeOffice, receiver: Receiver) -> None:
    """Whatever got past the check at the door."""
    office = make_office(allow_private=False, max_attempts=1)
    async with office.deliverer():
        delivery = await office.ended(await office.add("batch_1", receiver.url), DeliveryState.FAILED)
    assert errors(delivery.log) == ["target_refused"]
    assert receiver.calls == []


async def test_without_a_secret_nothing_is_sent(make_office: MakeOffice, receiver: Receiver) -> None:
    office = make_office(secret="")
    async with office.deliverer():
        delivery = await office.ended(await office.add("batch_1", receiver.url), DeliveryState.FAILED)
    assert errors(delivery.log) == ["no_secret"]
    assert receiver.calls == []


async def test_object_that_has_gone_is_not_told(office: Office) -> None:
    await office.mark("batch:batch_1")
    await office.mark("job:a")  # nobody describes these here
    async with office.deliverer():
        for ref in ("batch:batch_1", "job:a"):
            assert (await office.ended(ref, DeliveryState.NOTHING)).log == []


async def test_object_that_cannot_be_described_harms_no_other(
    office: Office, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    office.objects.notices["batch_1"] = RuntimeError("a bug")
    await office.mark("batch:batch_1")
    async with office.deliverer():
        await office.ended(await office.add("batch_2", receiver.url), DeliveryState.DELIVERED)
        delivery = await office.ended("batch:batch_1", DeliveryState.FAILED)
    assert errors(delivery.log) == ["internal_error"] * office.settings.max_attempts
    assert "a bug" in caplog.text


async def test_object_that_redis_does_not_give_is_asked_for_again(
    office: Office, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without counting: no call was made."""
    monkeypatch.setattr("producer.webhooks.attempt.ASK_AGAIN_S", 0.01)
    office.objects.notices["batch_1"] = StoreUnavailable("away")
    await office.mark("batch:batch_1")
    async with office.deliverer():
        await office.reached("batch:batch_1", lambda now: now.state is DeliveryState.PENDING)
        office.objects.end("batch_1", receiver.url)
        delivery = await office.ended("batch:batch_1", DeliveryState.DELIVERED)
    assert [entry["attempt"] for entry in delivery.log] == [1]


class Dying(Sender):
    """Sends, and takes its process with it before anybody hears of it."""

    def __init__(self, office: Office) -> None:
        super().__init__(office.settings)
        self.has_sent = asyncio.Event()

    async def send(self, url: str, event: Event) -> Answer:
        await super().send(url, event)
        self.has_sent.set()
        return await asyncio.get_running_loop().create_future()


async def test_end_whose_deliverer_died_is_told_again(
    office: Office, receiver: Receiver, redis_server: RedisServer
) -> None:
    """Between call and settlement: under the same id, by which the receiver knows it."""
    dying = Dying(office)
    async with office.deliverer(dying):
        ref = await office.add("batch_1", receiver.url)
        await dying.has_sent.wait()
        with redis_server.client() as raw:
            assert raw.zrange("chatq:webhooks:leases", 0, -1) == [ref]
            raw.zadd("chatq:webhooks:leases", {ref: 1})  # its time passes
        async with office.deliverer():
            delivery = await office.ended(ref, DeliveryState.DELIVERED)
    assert len(receiver.calls) == 2
    assert len({(call.id, call.body) for call in receiver.calls}) == 1
    assert [entry["attempt"] for entry in delivery.log] == [2]


async def test_end_that_kills_its_deliverers_is_given_up(
    office: Office, receiver: Receiver, redis_server: RedisServer
) -> None:
    ref = await office.add("batch_1", receiver.url)
    for number in range(office.settings.max_attempts):
        await office.outbox.claim(1, token=f"t{number}", lease_s=1, retry_s=5)
        with redis_server.client() as raw:
            raw.zadd("chatq:webhooks:leases", {ref: 1})
    async with office.deliverer():
        delivery = await office.ended(ref, DeliveryState.FAILED)
    assert errors(delivery.log) == ["gave_up"]
    assert receiver.calls == []


async def test_several_deliverers_tell_each_end_once(office: Office, receiver: Receiver) -> None:
    refs = [await office.add(f"batch_{number}", receiver.url) for number in range(60)]
    async with (
        office.deliverer(),
        office.deliverer(),
        office.deliverer(),
    ):
        for ref in refs:
            await office.ended(ref, DeliveryState.DELIVERED)
    told = sorted(call.event["data"]["id"] for call in receiver.calls)
    assert told == sorted(ref.partition(":")[2] for ref in refs)


async def test_stopped_deliverer_gives_back_what_it_holds(office: Office, receiver: Receiver) -> None:
    """At once, with the attempt: the next one need not wait for a lease."""
    receiver.held.clear()
    ref = await office.add("batch_1", receiver.url)
    async with office.deliverer() as running:
        await wait_until(lambda: bool(receiver.calls))
        await end_tasks(running)
        delivery = await office.read(ref)
        assert (delivery.state, delivery.attempts) == (DeliveryState.PENDING, 0)
        assert delivery.next_at is not None
    receiver.held.set()
    async with office.deliverer():
        delivery = await office.ended(ref, DeliveryState.DELIVERED)
    assert [entry["attempt"] for entry in delivery.log] == [1]


async def test_slow_host_does_not_hold_up_others(make_office: MakeOffice, receiver: Receiver) -> None:
    """It has a share of the places, however much is to be told there."""
    office = make_office(concurrency=10)
    receiver.held.clear()
    for number in range(40):
        await office.add(f"batch_{number}", receiver.url)
    async with office.deliverer():
        await wait_until(lambda: len(receiver.calls) == 2)
        other: list[Received] = []
        quick = Receiver([b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"], other)
        quick.held.set()
        async with await asyncio.start_server(quick.serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            ref = await office.add("batch_quick", f"http://localhost:{port}/")
            await office.ended(ref, DeliveryState.DELIVERED)
        assert receiver.most_at_once == 2


async def test_outage_of_redis_is_survived(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """What was told before or meanwhile is settled afterwards, and told once; the outage is one line."""
    receiver.held.clear()
    with tempfile.TemporaryDirectory(prefix="chatq-test-") as folder:
        server = RedisServer(SERVERS[max(SERVERS)], Path(folder), appendonly="yes", appendfsync="always")
        server.start()
        store = await Store.open(server.url, RedisSettings(url=server.url, retry_s=20))
        office = Office(store, webhook_settings())
        async with office.deliverer():
            ref = await office.add("batch_1", receiver.url)
            await wait_until(lambda: bool(receiver.calls))
            server.kill()
            receiver.held.set()
            await wait_until(lambda: "wait for Redis" in caplog.text)
            server.start()
            delivery = await office.ended(ref, DeliveryState.DELIVERED)
        await store.close()
        server.kill()
    assert len(receiver.calls) == len(delivery.log) == 1
    assert caplog.text.count("wait for Redis") == 1


async def test_secret_and_url_are_nowhere(
    office: Office, receiver: Receiver, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither in Redis nor in the log: a URL may carry a key of its receiver's."""
    receiver.answer(500, 200)
    with caplog.at_level(logging.DEBUG):
        async with office.deliverer():
            await office.ended(await office.add("batch_1", receiver.url), DeliveryState.DELIVERED)
    with redis_server.client() as raw:
        stored = " ".join(str(_content(raw, key)) for key in raw.scan_iter())
    for text in (caplog.text, stored):
        assert "told 127.0.0.1" in text or "batch_1" in text
        assert "hidden" not in text
        assert SECRET.removeprefix("whsec_") not in text
    assert SECRET not in repr(office.settings)


def _content(raw: redis.Redis, key: str) -> object:
    match raw.type(key):
        case "hash":
            return key, raw.hgetall(key)
        case "list":
            return key, raw.lrange(key, 0, -1)
        case "zset":
            return key, raw.zrange(key, 0, -1)
        case _:
            return key, raw.get(key)
