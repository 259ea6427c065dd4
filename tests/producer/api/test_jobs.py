"""Jobs over HTTP: submit, look, wait, cancel."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
import redis

from shared.job import JobError
from tests.producer.api.conftest import CHAT, Hand, Serve
from tests.support import RedisServer, wait_until


async def submit(api: httpx.AsyncClient, **options: Any) -> str:
    """Submit a job and see that it was accepted."""
    reply = await api.post("/jobs", json={"request": CHAT, **options})
    assert reply.status_code == 202, reply.text
    return str(reply.json()["id"])


async def test_submitted_job_is_where_location_says(api: httpx.AsyncClient) -> None:
    """All that was said of it is kept."""
    options = {
        "lane": "batch", "metadata": {"case": 7}, "source": "nightly", "tags": ["x"], "max_attempts": 2,
        "expires_in_s": 60,
    }  # fmt: skip
    reply = await api.post("/jobs", json={"request": CHAT, **options})
    accepted = reply.json()
    assert (reply.status_code, reply.headers["location"]) == (202, f"/v1/jobs/{accepted['id']}")
    assert accepted == {"id": accepted["id"], "object": "job", "status": "queued"}
    job = (await api.get(f"/jobs/{accepted['id']}")).json()
    assert (job["object"], job["status"], job["lane"], job["source"]) == ("job", "queued", "batch", "nightly")
    assert (job["metadata"], job["requested_model"]) == ({"case": 7}, "ollama/m")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "request"),
        (CHAT, "model"),
        ({"request": "hi"}, "request"),
        ({"request": {"model": "m", "messages": []}}, "request.messages"),
        ({"request": {**CHAT, "stream": True}}, "request.stream"),
        ({"request": CHAT, "priority": 1}, "priority"),
        ({"request": CHAT, "lane": "fast"}, "lane"),
        ({"request": CHAT, "lane": []}, "lane"),
        ({"request": CHAT, "expires_in_s": 0}, "expires_in_s"),
        ({"request": CHAT, "metadata": []}, "metadata"),
        ({"request": CHAT, "tags": "x"}, "tags"),
        ({"request": CHAT, "max_attempts": 99}, "max_attempts"),
        ({"request": CHAT, "source": "ü"}, "source"),
        ({"request": CHAT, "stream": "yes"}, "stream"),
        ({"request": CHAT, "webhook_url": "file:///etc/passwd"}, "webhook_url"),
        ({"request": CHAT, "idempotency_key": ""}, "idempotency_key"),
    ],
)
async def test_wrong_field_is_named(api: httpx.AsyncClient, body: dict[str, Any], param: str) -> None:
    reply = await api.post("/jobs", json=body)
    error = reply.json()["error"]
    assert (reply.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param)


async def test_null_is_as_if_it_were_left_out(api: httpx.AsyncClient) -> None:
    nothing = ("lane", "expires_in_s", "metadata", "source", "max_attempts", "tags", "webhook_url", "stream")
    await submit(api, **dict.fromkeys(nothing), idempotency_key=None)


async def test_same_key_is_the_same_job(api: httpx.AsyncClient, hand: Hand) -> None:
    """In the header or in the body; the answer says how it is by now."""
    job_id = await submit(api, idempotency_key="k")
    (grant,) = await hand.claim()
    await hand.answer(grant)
    again = await api.post("/jobs", json={"request": CHAT}, headers={"Idempotency-Key": "k"})
    assert (again.status_code, again.json()["id"], again.json()["status"]) == (202, job_id, "completed")


async def test_same_key_with_another_request_is_a_final_conflict(api: httpx.AsyncClient) -> None:
    await submit(api, idempotency_key="k")
    other = await api.post("/jobs", json={"request": {**CHAT, "seed": 1}, "idempotency_key": "k"})
    assert (other.status_code, other.headers["x-should-retry"]) == (409, "false")


@pytest.mark.parametrize("header", ["X-Source", "X-Boo-Source"])
async def test_source_may_be_a_header(api: httpx.AsyncClient, header: str) -> None:
    """What the job says goes before it."""
    ids = []
    for body in ({"request": CHAT}, {"request": CHAT, "source": "own"}):
        ids.append((await api.post("/jobs", json=body, headers={header: "web"})).json()["id"])
    assert [(await api.get(f"/jobs/{job_id}")).json()["source"] for job_id in ids] == ["web", "own"]


async def test_largest_request_fits_with_its_options(serve: Serve) -> None:
    """The limit is the request's; around it there is room."""
    async with serve(CHATQ_JOBS__MAX_BODY_BYTES="2000") as api:
        chat = {"model": "m", "messages": [{"role": "user", "content": "x" * 1900}]}
        await submit(api, request=chat, metadata={"x": "y" * 10_000})
        chat["messages"][0]["content"] += "x" * 200  # type: ignore[index]
        assert (await api.post("/jobs", json={"request": chat})).status_code == 413
        assert (await api.post("/jobs", content=b" " * 200_000)).status_code == 413


async def test_full_lane_says_when_to_come_back(serve: Serve) -> None:
    async with serve(CHATQ_ADMISSION__BATCH__MAX_JOBS="1") as api:
        await submit(api, lane="batch")
        reply = await api.post("/jobs", json={"request": CHAT, "lane": "batch"})
        assert (reply.status_code, reply.json()["error"]["code"]) == (429, "lane_full")
        assert 1 <= int(reply.headers["retry-after"]) <= 120


async def test_queued_job_says_why_it_waits(api: httpx.AsyncClient) -> None:
    """No worker is there."""
    await submit(api)
    reply = await api.get(f"/jobs/{await submit(api)}")
    job = reply.json()
    assert (job["wait_reason"], job["place"]) == ("no_worker", 1)
    assert int(reply.headers["retry-after"]) >= 1


async def test_long_poll_answers_when_the_job_has_ended(api: httpx.AsyncClient, hand: Hand) -> None:
    """Any number of them, also of the same job."""
    ids = [await submit(api) for _ in range(3)]
    polls = [asyncio.create_task(api.get(f"/jobs/{job_id}?wait=30")) for job_id in ids * 2]
    grants = await hand.claim(3)
    assert not any(poll.done() for poll in polls)
    for grant in grants:
        await hand.answer(grant, text=grant.job_id)
    replies = await asyncio.gather(*polls)
    texts = [reply.json()["response"]["choices"][0]["message"]["content"] for reply in replies]
    assert texts == ids * 2
    assert "retry-after" not in replies[0].headers


async def test_long_poll_gives_up_with_the_job_as_it_is(api: httpx.AsyncClient) -> None:
    reply = await api.get(f"/jobs/{await submit(api)}?wait=0.1")
    assert (reply.status_code, reply.json()["status"], "retry-after" in reply.headers) == (
        200,
        "queued",
        True,
    )


@pytest.mark.parametrize("wait", ["-1", "x", "nan"])
async def test_wait_must_be_a_time(api: httpx.AsyncClient, wait: str) -> None:
    reply = await api.get(f"/jobs/{await submit(api)}?wait={wait}")
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "wait")


async def test_abandoned_poll_leaves_the_job_alone(
    api: httpx.AsyncClient, hand: Hand, redis_server: RedisServer
) -> None:
    """It goes on, and whoever asks later gets its answer."""
    job_id = await submit(api)
    poll = asyncio.create_task(api.get(f"/jobs/{job_id}?wait=30"))
    with redis_server.client() as raw:
        await wait_until(lambda: raw.hexists(f"rq:job:{job_id}", "cq_notify"))
    poll.cancel()
    (grant,) = await hand.claim()
    await hand.answer(grant)
    assert (await api.get(f"/jobs/{job_id}?wait=30")).json()["status"] == "completed"


async def test_failed_job_has_its_error(api: httpx.AsyncClient, hand: Hand) -> None:
    job_id = await submit(api)
    (grant,) = await hand.claim()
    await hand.fail(grant, JobError("overloaded", "too busy", 503, "ollama", "m"))
    job = (await api.get(f"/jobs/{job_id}")).json()
    assert (job["status"], job["response"], job["error"]["code"]) == ("failed", None, "overloaded")


async def test_cancel_ends_a_job_once(api: httpx.AsyncClient, hand: Hand) -> None:
    """A running one too; a second cancel changes nothing."""
    for is_running in (False, True):
        job_id = await submit(api)
        if is_running:
            assert len(await hand.claim()) == 1
        first, second = [(await api.delete(f"/jobs/{job_id}")) for _ in range(2)]
        assert (first.status_code, first.json()["status"]) == (200, "cancelled")
        assert second.json() == first.json()


async def test_ended_job_is_not_cancelled(api: httpx.AsyncClient, hand: Hand) -> None:
    job_id = await submit(api)
    (grant,) = await hand.claim()
    await hand.answer(grant)
    assert (await api.delete(f"/jobs/{job_id}")).json()["status"] == "completed"


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/events"), ("DELETE", "")])
async def test_unknown_job_is_not_found(api: httpx.AsyncClient, method: str, path: str) -> None:
    reply = await api.request(method, f"/jobs/nobody{path}")
    assert (reply.status_code, reply.json()["error"]["type"]) == (404, "invalid_request_error")


async def test_real_worker_answers(api: httpx.AsyncClient, worker: object) -> None:
    """From the submit to the answer, by a process of its own."""
    job = (await api.get(f"/jobs/{await submit(api)}?wait=30")).json()
    assert (job["status"], job["response"]["object"]) == ("completed", "chat.completion")
    assert job["cost_usd"] is not None


def notes(raw: redis.Redis) -> set[str]:
    return set(raw.zrange("chatq:webhooks:due", 0, -1))


async def test_webhook_is_due_when_the_job_has_ended(
    serve: Serve, hand: Hand, redis_server: RedisServer
) -> None:
    async with serve(CHATQ_WEBHOOKS__SECRET="secret") as api:
        told, untold = await submit(api, webhook_url="https://example.com/hook"), await submit(api)
        for grant in await hand.claim(2):
            await hand.answer(grant)
        with redis_server.client() as raw:
            assert notes(raw) == {f"job:{told}"}
        assert (await api.get(f"/jobs/{untold}")).json()["status"] == "completed"
