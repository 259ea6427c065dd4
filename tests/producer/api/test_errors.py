"""Every error is OpenAI's envelope with four keys and an id, and tells nothing of the inside."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import httpx
import orjson
import pytest

from producer.api.app import OPERATIONS
from producer.api.operation import JSON, Operation
from tests.producer.api.conftest import CHAT, Serve

MANY = b"[" * 20_000 + b"]" * 20_000


def check(answer: httpx.Response, *statuses: int) -> dict[str, Any]:
    """The error of an answer that is in order."""
    assert answer.status_code in statuses, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")
    body = answer.json()
    error: dict[str, Any] = body["error"]
    assert body.keys() == {"error"}
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"]
    assert error["type"]
    for word in ("Traceback", 'File "', "redis", ".py", "0x"):
        assert word not in answer.text
    return error


async def test_unknown_route(api: httpx.AsyncClient) -> None:
    for path in ("/nope", "/", "/jobs/a/b/c", "//", "/v1", "/jobs/%00", "/%ff%fe", "/../etc/passwd"):
        check(await api.get(path), 404)


async def test_prefix_may_be_missing_but_not_doubled(api: httpx.AsyncClient) -> None:
    root = str(api.base_url).removesuffix("/v1/")
    assert (await api.get(f"{root}/models")).status_code == 200
    check(await api.get(f"{root}/v1/v1/models"), 404)
    check(await api.get(f"{root}/v1models"), 404)


async def test_wrong_method_says_which_are_right(api: httpx.AsyncClient) -> None:
    for method in ("PUT", "PATCH", "OPTIONS", "DELETE", "GET"):
        answer = await api.request(method, "/chat/completions")
        assert check(answer, 405)["code"] == "method_not_allowed"
        assert answer.headers["allow"] == "POST"


async def test_pages_of_other_origins_get_no_permission(api: httpx.AsyncClient) -> None:
    for origin in ("https://evil.example", "null"):
        answer = await api.get("/models", headers={"origin": origin})
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_call_without_a_token(serve: Serve) -> None:
    async with serve(CHATQ_AUTH__TOKEN="t") as api:
        error = check(await api.get("/models"), 401)
        assert error["code"] == "invalid_api_key"


TAKES_JSON = [
    one for one in OPERATIONS if one.body is not None and one.body.media == JSON and one.body.is_required
]


def path_of(operation: Operation) -> str:
    return operation.path.replace("{id}", "none")


BAD: dict[str, bytes] = {
    "empty": b"",
    "blank": b"   ",
    "not JSON": b"{",
    "text": b"hello",
    "list": b"[]",
    "number": b"5",
    "null": b"null",
    "deep list": MANY,
    "deep object": b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    "deep field": b'{"messages":' + MANY + b"}",
    "invalid UTF-8": b'{"model":"\xff\xfe"}',
    "lone surrogate": b'{"model":"\\ud800"}',
    "lone surrogate as a name": b'{"\\udfff":1}',
    "NaN": b'{"model":NaN}',
    "infinity": b'{"temperature":-Infinity}',
    "huge number": b'{"model":"m","n":1' + b"0" * 5_000 + b"}",
    "huge exponent": b'{"temperature":1e999999}',
    "NUL": b'{"model":"a\\u0000b"}',
    "byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": "{}".encode("utf-16"),
    "form": b"model=m&messages=hi",
    "wrong types": b'{"model":[],"messages":{},"input":5,"request":[],"endpoint":{},"metadata":7}',
    "same name twice": b'{"model":1,"model":2}',
}


@pytest.mark.parametrize("content_type", [JSON, "multipart/form-data; boundary=x", ""])
async def test_bad_bodies(api: httpx.AsyncClient, content_type: str) -> None:
    """Each is a 4xx with a message, wherever it is sent to."""
    for operation in TAKES_JSON:
        for name, body in BAD.items():
            answer = await api.post(path_of(operation), content=body, headers={"content-type": content_type})
            assert check(answer, 400, 404), name


async def test_body_over_the_limit_is_refused(api: httpx.AsyncClient) -> None:
    """Unread if its size is stated, else once so much has come."""
    size = 5 * 1024 * 1024

    async def endless() -> Any:
        for _ in range(size // 65_536):
            yield b" " * 65_536

    for operation in TAKES_JSON:
        for content in (b" " * size, endless()):
            error = check(await api.post(path_of(operation), content=content), 413, 404)
            assert error["code"] in ("request_too_large", None)


async def test_wrong_content_type_is_no_reason_to_refuse(api: httpx.AsyncClient) -> None:
    """Clients in the wild send none, or a wrong one."""
    headers = {"content-type": "text/plain"}
    answer = await api.post("/jobs", content=orjson.dumps({"request": CHAT}), headers=headers)
    assert answer.status_code == 202


async def test_bad_query(api: httpx.AsyncClient) -> None:
    for path in ("/jobs", "/batches", "/files"):
        for limit in ("x", "-1", "0", "9999999999999999999999", "1e3", "%FF", "%D9%A3"):
            check(await api.get(f"{path}?limit={limit}"), 400)


async def test_bad_wait(api: httpx.AsyncClient) -> None:
    job_id = (await api.post("/jobs", json={"request": CHAT})).json()["id"]
    for wait in ("x", "-1", "nan", "inf", "1,5"):
        check(await api.get(f"/jobs/{job_id}", params={"wait": wait}), 400)


async def test_strange_ids_are_unknown_ones(api: httpx.AsyncClient) -> None:
    for path in ("/jobs/{}", "/files/{}", "/batches/{}", "/responses/{}", "/webhooks/deliveries/{}"):
        for object_id in ("*", "a b", "..", "%00", "%0a", "x" * 5_000, "ü", "%f0%9f", "{id}", "'"):
            check(await api.get(path.format(object_id)), 404)


async def test_bug_of_ours_is_logged_with_its_id_and_told_without_its_inside(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise KeyError("secret of the inside")

    monkeypatch.setattr("producer.client.Producer.get", broken)
    monkeypatch.setattr("producer.client.Producer.look", broken)
    with caplog.at_level(logging.ERROR):
        answer = await api.get("/jobs/some")
    error = check(answer, 500)
    assert "secret" not in error["message"]
    assert answer.headers["x-request-id"] in caplog.text


async def test_body_that_does_not_come_is_not_waited_for(serve: Serve) -> None:
    """Nor one that comes a byte at a time."""
    async with serve(CHATQ_API__BODY_TIMEOUT_S="0.3") as api:
        for pause_s in (5.0, 0.13):  # none comes while the connection is closed: that would reset it
            reader, writer = await asyncio.open_connection("127.0.0.1", api.base_url.port)
            head = "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n"
            writer.write(head.encode())
            dripping = asyncio.create_task(drip(writer, pause_s))
            async with asyncio.timeout(5):
                answer = await reader.read()
            dripping.cancel()
            await asyncio.gather(dripping, return_exceptions=True)
            writer.close()
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b'"code":"request_timeout"' in answer


async def drip(writer: asyncio.StreamWriter, pause_s: float) -> None:
    while True:
        await asyncio.sleep(pause_s)
        writer.write(b" ")
