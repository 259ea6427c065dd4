"""Chat completions over the queue: waiting, not waiting, failing, and connections that are dropped."""

from __future__ import annotations

import asyncio
import subprocess

import httpx
import orjson
import pytest

from shared.job import JobError
from shared.store.connect import Store
from tests.producer.api.conftest import CHAT, Hand, Serve
from tests.producer.api.tokens import add_token, bearer

Worker = subprocess.Popen[bytes]


async def state_of(api: httpx.AsyncClient, job_id: str) -> str:
    return str((await api.get(f"/jobs/{job_id}")).json()["status"])


async def claim(hand: Hand) -> list:
    """The job that a call has just submitted, claimed."""
    async with asyncio.timeout(10):
        while not (grants := await hand.claim()):
            await asyncio.sleep(0.01)
    return grants


async def test_call_waits_for_its_answer(api: httpx.AsyncClient, worker: Worker) -> None:
    answer = await api.post("/chat/completions", json=CHAT)
    assert answer.status_code == 200
    body = answer.json()
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"]["role"] == "assistant"
    assert body["chatq"]["provider"] == "ollama"
    assert answer.headers["x-request-id"].startswith("req_")
    assert await state_of(api, answer.headers["x-chatq-job"]) == "completed"


@pytest.mark.parametrize(
    ("tier", "header", "lane"),
    [
        (None, None, "interactive"),
        ("auto", None, "interactive"),
        ("flex", None, "batch"),
        ("priority", None, "interactive"),
        ("flex", "default", "default"),
    ],
)
async def test_lane_is_the_headers_else_the_tiers(
    api: httpx.AsyncClient, tier: str | None, header: str | None, lane: str
) -> None:
    body = CHAT if tier is None else {**CHAT, "service_tier": tier}
    headers = {"Prefer": "respond-async"} | ({"X-Chatq-Lane": header} if header else {})
    answer = await api.post("/chat/completions", json=body, headers=headers)
    assert answer.json()["lane"] == lane


async def test_headers_are_options_of_the_job(api: httpx.AsyncClient) -> None:
    headers = {
        "Prefer": "respond-async",
        "X-Chatq-Deadline": "30m",
        "X-Chatq-Tags": "small, fast-flow",
        "X-Boo-Source": "nightly",
    }
    body = {**CHAT, "metadata": {"row": "7"}}
    job = (await api.post("/chat/completions", json=body, headers=headers)).json()
    assert (job["source"], job["metadata"]) == ("nightly", {"row": "7"})


@pytest.mark.parametrize(
    ("header", "value"), [("X-Chatq-Lane", "fast"), ("X-Chatq-Deadline", "soon"), ("X-Chatq-Deadline", "0")]
)
async def test_wrong_header_is_refused_by_name(api: httpx.AsyncClient, header: str, value: str) -> None:
    answer = await api.post("/chat/completions", json=CHAT, headers={header: value})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == header


async def test_respond_async_answers_with_the_jobs_address(api: httpx.AsyncClient) -> None:
    answer = await api.post("/chat/completions", json=CHAT, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
    assert answer.json()["status"] == "queued"


async def test_respond_async_never_waits(api: httpx.AsyncClient, hand: Hand) -> None:
    """Also where the job has ended meanwhile: who asks for an address gets one."""
    headers = {"Idempotency-Key": "k"}
    asking = asyncio.create_task(api.post("/chat/completions", json=CHAT, headers=headers))
    (grant,) = await claim(hand)
    await hand.answer(grant)
    assert (await asking).status_code == 200
    again = await api.post("/chat/completions", json=CHAT, headers={**headers, "Prefer": "respond-async"})
    assert (again.status_code, again.json()["status"]) == (202, "completed")


async def test_preferred_wait_ends_with_the_job_or_its_address(api: httpx.AsyncClient, hand: Hand) -> None:
    """Nobody runs the first; the second is answered in time."""
    late = await api.post("/chat/completions", json=CHAT, headers={"Prefer": "wait=0"})
    assert late.status_code == 202
    await claim(hand)
    asking = asyncio.create_task(api.post("/chat/completions", json=CHAT, headers={"Prefer": "wait=20"}))
    (grant,) = await claim(hand)
    await hand.answer(grant, "in time")
    assert (await asking).json()["choices"][0]["message"]["content"] == "in time"


async def test_same_key_is_the_same_job(api: httpx.AsyncClient) -> None:
    headers = {"Prefer": "respond-async", "Idempotency-Key": "one"}
    first = await api.post("/chat/completions", json=CHAT, headers=headers)
    again = await api.post("/chat/completions", json=CHAT, headers=headers)
    other = await api.post("/chat/completions", json={**CHAT, "seed": 1}, headers=headers)
    assert first.json()["id"] == again.json()["id"]
    assert (other.status_code, other.headers["x-should-retry"]) == (409, "false")


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (JobError("context_too_long", "too long", 400, "ollama"), 400, "invalid_request_error"),
        (JobError("request_refused", "no such field", 422, "ollama"), 422, "invalid_request_error"),
        (JobError("credential_rejected", "bad key", 401, "ollama"), 502, "server_error"),
        (JobError("quota_exhausted", "no money", 429, "ollama"), 429, "insufficient_quota"),
        (JobError("server_error", "it broke", 500, "ollama"), 502, "server_error"),
        (JobError("read_timeout", "silence", None, "ollama"), 504, "timeout"),
        (JobError("model_not_found", "no such model", 404, "ollama"), 404, "invalid_request_error"),
    ],
)
async def test_failed_job_is_a_final_error(
    api: httpx.AsyncClient, hand: Hand, error: JobError, status: int, kind: str
) -> None:
    """chatq has retried already; a provider's refusal of a key is not the caller's 401."""
    asking = asyncio.create_task(api.post("/chat/completions", json=CHAT))
    (grant,) = await claim(hand)
    await hand.fail(grant, error)
    answer = await asking
    assert answer.status_code == status
    assert answer.json()["error"]["type"] == kind
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"model": "m"}, "messages"),
        ({"messages": CHAT["messages"]}, "model"),
        ({**CHAT, "messages": []}, "messages"),
        ({**CHAT, "stream": "yes"}, "stream"),
        ({**CHAT, "stream_options": 1}, "stream_options"),
        ({**CHAT, "metadata": {"a": 1}}, "metadata"),
        ({**CHAT, "metadata": {str(n): "" for n in range(17)}}, "metadata"),
    ],
)
async def test_wrong_field_is_refused_by_name(api: httpx.AsyncClient, body: object, field: str) -> None:
    answer = await api.post("/chat/completions", content=orjson.dumps(body))
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == field


@pytest.mark.parametrize("stated", ["x-stainless-read-timeout", "x-stainless-timeout"])
async def test_held_call_is_kept_alive_with_blanks(api: httpx.AsyncClient, hand: Hand, stated: str) -> None:
    """The head comes at half of the silence that the client bears; then blanks, then the answer."""
    async with api.stream("POST", "/chat/completions", json=CHAT, headers={stated: "0.5"}) as answer:
        assert answer.status_code == 200
        (grant,) = await claim(hand)
        await hand.answer(grant, "late")
        text = (await answer.aread()).decode()
    assert text.startswith(" ")
    assert orjson.loads(text)["choices"][0]["message"]["content"] == "late"


async def test_blanks_come_as_often_as_the_client_needs(api: httpx.AsyncClient, hand: Hand) -> None:
    """One that bears a second of silence does not bear five after the head."""
    headers, blanks = {"x-stainless-read-timeout": "1"}, b""
    async with api.stream("POST", "/chat/completions", json=CHAT, headers=headers, timeout=1) as answer:
        parts = answer.aiter_raw()
        while len(blanks) < 3:
            blanks += await anext(parts)
        (grant,) = await claim(hand)
        await hand.answer(grant, "late")
        rest = b"".join([part async for part in parts])
    assert orjson.loads(blanks + rest)["choices"][0]["message"]["content"] == "late"


async def test_job_that_fails_after_the_head_is_an_error_in_the_body(
    api: httpx.AsyncClient, hand: Hand
) -> None:
    headers = {"x-stainless-read-timeout": "0.5"}
    async with api.stream("POST", "/chat/completions", json=CHAT, headers=headers) as answer:
        (grant,) = await claim(hand)
        await hand.fail(grant, JobError("server_error", "it broke", 500))
        assert orjson.loads(await answer.aread())["error"]["message"] == "it broke"


async def dropped_call(api: httpx.AsyncClient, headers: dict[str, str]) -> None:
    """Make a call, and go away once its job is there."""
    asking = asyncio.create_task(api.post("/chat/completions", json=CHAT, headers=headers))
    while not (await api.get("/jobs")).json()["data"]:
        await asyncio.sleep(0.01)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


async def only_job(api: httpx.AsyncClient) -> dict[str, str]:
    (job,) = (await api.get("/jobs")).json()["data"]
    return dict(job)


@pytest.mark.parametrize("headers", [{}, {"Prefer": "wait=60"}])
async def test_dropped_connection_cancels_the_job(api: httpx.AsyncClient, headers: dict[str, str]) -> None:
    await dropped_call(api, headers)
    async with asyncio.timeout(10):
        while (await only_job(api))["status"] != "cancelled":
            await asyncio.sleep(0.01)


async def test_job_that_somebody_else_waits_for_is_not_cancelled(api: httpx.AsyncClient, hand: Hand) -> None:
    asking = asyncio.create_task(api.post("/chat/completions", json=CHAT))
    (grant,) = await claim(hand)
    async with api.stream("GET", f"/jobs/{grant.job_id}/events") as events:
        lines = events.aiter_lines()
        await anext(lines)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await hand.answer(grant, "for the other")
        assert "event: end" in [line async for line in lines]
    assert (await only_job(api))["status"] == "completed"


async def test_dropped_call_with_a_key_gets_its_answer_when_it_comes_again(
    api: httpx.AsyncClient, hand: Hand
) -> None:
    """A client that retries after a time-out would find its own job cancelled, for good."""
    headers = {"Idempotency-Key": "k"}
    await dropped_call(api, headers)
    (grant,) = await claim(hand)
    await hand.answer(grant, "paid for once")
    again = await api.post("/chat/completions", json=CHAT, headers=headers)
    assert again.json()["choices"][0]["message"]["content"] == "paid for once"


async def test_dropped_connection_leaves_a_job_that_was_to_be_fetched_later(
    api: httpx.AsyncClient, hand: Hand
) -> None:
    headers = {"Idempotency-Key": "k"}
    await api.post("/chat/completions", json=CHAT, headers={**headers, "Prefer": "respond-async"})
    await dropped_call(api, headers)
    (grant,) = await claim(hand)
    await hand.answer(grant)
    assert (await only_job(api))["status"] == "completed"


async def test_setting_keeps_the_jobs_of_dropped_connections(serve: Serve, hand: Hand) -> None:
    async with serve(CHATQ_API__CANCEL_DROPPED="false") as api:
        await dropped_call(api, {})
        (grant,) = await claim(hand)
        await hand.answer(grant)
        assert (await only_job(api))["status"] == "completed"


@pytest.mark.parametrize("field", ["fallbacks", "models"])
@pytest.mark.parametrize("path", ["/chat/completions", "/chat", "/responses", "/jobs"])
async def test_token_reaches_no_other_model_by_a_field_beside(
    api: httpx.AsyncClient, store: Store, path: str, field: str
) -> None:
    """`models` are OpenRouter's own fallbacks."""
    headers = bearer(await add_token(store, models=("openrouter/small",)))
    request = {**CHAT, "model": "openrouter/small", field: ["openrouter/large"]}
    asked = {"model": request["model"], "input": "hi", field: request[field]}
    body = {"/responses": asked, "/jobs": {"request": request}}.get(path, request)
    answer = await api.post(path, json=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "model_not_allowed")


async def test_empty_request_tells_the_limits(serve: Serve) -> None:
    """Some clients ask so, and set their pace by the answer."""
    limits = {
        "CHATQ_PROVIDERS__OLLAMA__LIMITS__RPM": "600",
        "CHATQ_PROVIDERS__OLLAMA__LIMITS__TPM": "50000",
    }
    async with serve(**limits) as api:
        probe = await api.post("/chat/completions", json={**CHAT, "messages": []})
        other = await api.post("/chat/completions", json={"model": "openrouter/m", "messages": []})
    assert probe.status_code == other.status_code == 400
    assert probe.headers["x-ratelimit-limit-requests"] == "600"
    assert probe.headers["x-ratelimit-limit-tokens"] == "50000"
    assert int(other.headers["x-ratelimit-limit-requests"]) > 600
    assert not [name for name in probe.headers if name.startswith("x-ratelimit-remaining")]
