"""Secrets: after a session, no token and no provider's key stands in logs, in Redis or in answers."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import httpx
import pytest
import redis

from shared.access_token import id_of, new_token
from shared.store.connect import Store
from tests.producer.api.conftest import CHAT, Serve
from tests.producer.api.tokens import add_token, bearer
from tests.support import KEYS, RedisServer, WorkerRunner

STATIC = "static-token-nobody-may-see"


def everything(raw: redis.Redis) -> Iterable[bytes]:
    """All names and all values in Redis, as they are stored."""
    for key in raw.scan_iter(count=1000):
        yield key
        match raw.type(key):
            case b"string":
                yield raw.get(key)  # type: ignore[misc]
            case b"hash":
                yield repr(raw.hgetall(key)).encode()
            case b"list":
                yield repr(raw.lrange(key, 0, -1)).encode()
            case b"set":
                yield repr(raw.smembers(key)).encode()
            case b"zset":
                yield repr(raw.zrange(key, 0, -1)).encode()
            case b"stream":
                yield repr(raw.xrange(key)).encode()
            case kind:
                raise AssertionError(f"{key!r} is a {kind!r}")


async def session(api: httpx.AsyncClient) -> list[httpx.Response]:
    """Calls that go well, and calls that do not."""
    answers = [
        await api.post("/chat/completions", json=CHAT),
        await api.post("/chat", json={**CHAT, "model": "openrouter/m"}),
        await api.post("/responses", json={"model": "ollama/m", "input": "hi", "metadata": {"a": "b"}}),
        await api.post("/jobs", json={"request": CHAT}, headers={"Idempotency-Key": "k"}),
        await api.post("/jobs", json={"request": {**CHAT, "n": "x"}}),
        await api.post("/chat", json={**CHAT, "model": "openai/m"}),
        await api.post("/chat", content=b"{"),
        await api.post("/chat", headers={"x-long": "x" * 70_000}),
    ]
    for path in (
        "/models",
        "/jobs",
        "/files",
        "/batches",
        "/chat/providers",
        "/metrics",
        "/openapi.json",
        "/nope",
    ):
        answers.append(await api.get(path))
    answers.append(await api.get(f"/jobs/{answers[3].json()['id']}?wait=10"))
    answers.append(await api.get("/models", headers=bearer(new_token())))
    return answers


async def test_no_secret_is_written_or_told(
    serve: Serve,
    store: Store,
    workers: WorkerRunner,
    redis_server: RedisServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tokens = [await add_token(store), STATIC]
    caplog.set_level(logging.DEBUG)
    worker = workers.start(CHATQ_LOG__LEVEL="debug")
    async with serve(CHATQ_AUTH__TOKEN=STATIC) as api:
        told = ""
        for token in tokens:
            api.headers["authorization"] = f"Bearer {token}"
            for answer in await session(api):
                assert answer.status_code != 500
                told += f"{answer.headers} {answer.text}"
    with redis.Redis(unix_socket_path=str(redis_server.socket), protocol=2) as raw:
        kept = b" ".join(everything(raw))
    assert b"rq:job:" in kept
    written = caplog.text + workers.log(worker)
    secret_parts = [STATIC, tokens[0][len(id_of(tokens[0])) :], *KEYS.values()]
    places = {"answers": told, "Redis": kept.decode(errors="replace"), "logs": written}
    assert [
        (place, secret) for place, text in places.items() for secret in secret_parts if secret in text
    ] == []
