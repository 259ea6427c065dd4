"""Jobs in bulk: a line in, a line out, in order, whatever stands in the lines and however they come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpx
import orjson
import pytest

from producer import Producer
from producer.api import spool as spool_module
from producer.api.lines import Line, read_lines
from producer.api.spool import Spool
from shared.errors import StoreUnavailable
from shared.job import Lane
from shared.store.connect import Store
from tests.producer.api.conftest import CHAT, Hand, Serve
from tests.producer.api.tokens import add_token, bearer

JOB = orjson.dumps({"request": CHAT})


def ndjson(*jobs: dict[str, Any]) -> bytes:
    return b"".join(orjson.dumps(job) + b"\n" for job in jobs)


async def send(api: httpx.AsyncClient, body: Any, **headers: str) -> list[dict[str, Any]]:
    reply = await api.post("/jobs/bulk", content=body, headers=headers)
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "application/x-ndjson"
    return [orjson.loads(line) for line in reply.content.splitlines()]


async def test_each_line_has_its_answer_in_order(api: httpx.AsyncClient) -> None:
    """With the id of the job it made."""
    answers = await send(api, ndjson(*({"request": CHAT, "metadata": {"n": n}} for n in range(500))))
    assert [answer["line"] for answer in answers] == list(range(1, 501))
    assert {answer["status"] for answer in answers} == {"queued"}
    job = (await api.get(f"/jobs/{answers[41]['id']}")).json()
    assert job["metadata"] == {"n": 41}


async def test_bad_line_does_not_hold_up_others(api: httpx.AsyncClient) -> None:
    """Blank lines make no job and have no answer, but count."""
    body = b"\n".join([JOB, b"{", b"[]", b"", b'{"request": 1}', b'{"x": 1}', JOB + b"\r", JOB])
    answers = await send(api, body)
    assert [(a["line"], a.get("error", {}).get("param", "ok")) for a in answers] == [
        (1, "ok"), (2, None), (3, None), (5, "request"), (6, "x"), (7, "ok"), (8, "ok"),
    ]  # fmt: skip
    assert answers[1]["error"]["code"] == "invalid_json"
    assert answers[1]["error"]["status"] == 400


async def test_empty_body_has_an_empty_answer(api: httpx.AsyncClient) -> None:
    assert await send(api, b"") == []


async def test_line_that_is_too_long_costs_only_itself(serve: Serve) -> None:
    """It is not even held."""
    async with serve(CHATQ_JOBS__MAX_BODY_BYTES="1024") as api:
        answers = await send(api, JOB + b"\n" + b"x" * 1_000_000 + b"\n" + JOB + b"\n" + b"y" * 100_000)
        assert [a.get("error", {}).get("status", a.get("status")) for a in answers] == [
            "queued",
            413,
            "queued",
            413,
        ]


async def test_body_may_be_larger_than_any_limit_of_a_call(serve: Serve) -> None:
    async with serve(CHATQ_JOBS__MAX_BODY_BYTES="1024") as api:
        assert len(await send(api, (JOB + b"\n") * 3_000)) == 3_000


async def test_keys_make_a_second_send_harmless(api: httpx.AsyncClient, hand: Hand) -> None:
    """Of the call, or each line's own; the status is the present one."""
    body = ndjson({"request": CHAT}, {"request": CHAT, "idempotency_key": "own"})
    first = await send(api, body, **{"Idempotency-Key": "k"})
    assert len({answer["id"] for answer in first}) == 2
    (grant,) = await hand.claim(1)
    await hand.answer(grant)
    again = await send(api, body, **{"Idempotency-Key": "k"})
    assert [answer["id"] for answer in again] == [answer["id"] for answer in first]
    assert [answer["status"] for answer in again] == ["completed", "queued"]


async def test_look_that_fails_costs_only_the_jobs_that_were_there(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new one is accepted, and its line says so."""
    known = {"request": CHAT, "idempotency_key": "known"}
    await send(api, ndjson(known))

    async def fail(*_: object) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(Producer, "get_many", fail)
    first, second = await send(api, ndjson(known, {"request": CHAT}))
    assert (first["error"]["status"], second["status"]) == (503, "queued")


async def test_lines_beyond_a_lanes_bound_are_told_when_to_come_back(serve: Serve) -> None:
    async with serve(CHATQ_ADMISSION__DEFAULT__MAX_JOBS="2") as api:
        answers = await send(api, (JOB + b"\n") * 3)
        assert [answer.get("status") for answer in answers] == ["queued", "queued", None]
        error = answers[2]["error"]
        assert (error["code"], error["status"], error["retry_after"] >= 1) == ("lane_full", 429, True)


async def test_line_that_its_caller_may_not_send_is_refused_alone(
    api: httpx.AsyncClient, store: Store
) -> None:
    """By lane or by model."""
    token = await add_token(store, lanes=[Lane.BATCH], models=("ollama/*",))
    other = {"request": {**CHAT, "model": "openrouter/x"}, "lane": "batch"}
    body = ndjson({"request": CHAT, "lane": "batch"}, {"request": CHAT, "lane": "interactive"}, other)
    answers = await send(api, body, **bearer(token))
    codes = [answer.get("error", answer).get("code") for answer in answers]
    assert codes == [None, "lane_not_allowed", "model_not_allowed"]


async def test_answers_come_while_the_body_is_still_being_sent(serve: Serve) -> None:
    """Each line's before the next one is sent."""
    async with serve() as api:
        host, port = str(api.base_url.host), api.base_url.port
        reader, writer = await asyncio.open_connection(host, port)
        head = "POST /v1/jobs/bulk HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head.encode())
        for number in (1, 2, 3):
            line = JOB + b"\n"
            writer.write(b"%x\r\n%b\r\n" % (len(line), line))
            received = b""
            while b'"line":%d' % number not in received:
                received += await asyncio.wait_for(reader.read(65_536), 20)
        writer.write(b"0\r\n\r\n")
        assert (await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 20)).endswith(b"0\r\n\r\n")
        writer.close()
        await writer.wait_closed()


async def _opened(api: httpx.AsyncClient) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A bulk submit whose body is still to come."""
    reader, writer = await asyncio.open_connection(str(api.base_url.host), api.base_url.port)
    writer.write(b"POST /v1/jobs/bulk HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
    return reader, writer


async def test_lines_may_come_for_longer_than_any_other_body(serve: Serve) -> None:
    """As they arise: each of them is in time."""
    async with serve(CHATQ_API__BODY_TIMEOUT_S="1") as api:
        reader, writer = await _opened(api)
        began_at = time.monotonic()
        while time.monotonic() - began_at < 1.2:
            writer.write(b"%x\r\n%b\n\r\n" % (len(JOB) + 1, JOB))
            await asyncio.wait_for(reader.readuntil(b'"queued"}\n'), 20)
            await asyncio.sleep(0.3)
        writer.write(b"0\r\n\r\n")
        await asyncio.wait_for(reader.readuntil(b"\r\n0\r\n\r\n"), 20)
        writer.close()
        await writer.wait_closed()


async def test_body_that_never_comes_is_refused(serve: Serve) -> None:
    async with serve(CHATQ_API__BODY_TIMEOUT_S="0.2") as api:
        reader, writer = await _opened(api)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
        assert head.startswith(b"HTTP/1.1 408 ")
        writer.close()
        await writer.wait_closed()


async def test_line_that_was_cut_off_makes_no_job(api: httpx.AsyncClient, store: Store) -> None:
    """The lines before it do."""
    host, port = str(api.base_url.host), api.base_url.port
    reader, writer = await asyncio.open_connection(host, port)
    body = JOB + b"\n" + JOB  # the second line is whole by chance
    writer.write(b"POST /v1/jobs/bulk HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n\r\n" + body)
    await reader.readuntil(b'"line":1')
    writer.close()
    await writer.wait_closed()
    assert (await api.get("/jobs")).json()["data"].__len__() == 1


async def _parts(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
async def test_lines_do_not_depend_on_how_they_come(size: int) -> None:
    body = b"a\n\n bb \n" + b"c" * 9 + b"\nlast"
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    lines = [line async for group in read_lines(_parts(parts), max_bytes=8) for line in group]
    assert lines == [Line(1, b"a"), Line(3, b" bb "), Line(4, None), Line(5, b"last")]


async def test_many_lines_of_one_part_come_in_groups() -> None:
    groups = [len(group) async for group in read_lines(_parts([b"x\n" * 450]), max_bytes=8)]
    assert groups == [200, 200, 50]


async def test_spool_gives_back_what_was_put(monkeypatch: pytest.MonkeyPatch) -> None:
    """From memory and from disk; who writes too far ahead is made to wait."""
    monkeypatch.setattr(spool_module, "MEMORY_BYTES", 1_000)
    monkeypatch.setattr(spool_module, "DISK_BYTES", 10_000)
    spool, given = Spool(), [bytes([n % 256]) * 500 for n in range(100)]

    async def write() -> None:
        for part in given:
            await spool.put(part)
        spool.end()

    writing = asyncio.create_task(write())
    received = b""
    while part := await spool.get():
        received += part
    await writing
    spool.close()
    assert received == b"".join(given)
