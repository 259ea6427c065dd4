"""Files over HTTP: uploads in any form, lists, content, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import psutil
import pytest

from producer.files.blobs import open_blobs
from shared.settings import Settings

from .conftest import Serve

INPUT = b'{"custom_id": "a"}\n'


async def upload(api: httpx.AsyncClient, data: bytes = INPUT, **fields: str) -> httpx.Response:
    headers = {"Idempotency-Key": fields.pop("key")} if "key" in fields else {}
    form = {"purpose": "batch", **fields}
    return await api.post("/files", files={"file": ("in.jsonl", data)}, data=form, headers=headers)


async def made(api: httpx.AsyncClient, data: bytes = INPUT, **fields: str) -> dict[str, Any]:
    answer = await upload(api, data, **fields)
    assert answer.status_code == 200, answer.text
    file: dict[str, Any] = answer.json()
    return file


async def test_official_client_uses_files(api: httpx.AsyncClient) -> None:
    """Create, wait, retrieve, list, read, delete."""
    async with openai.AsyncOpenAI(base_url=str(api.base_url), api_key="x") as client:
        file = await client.files.create(
            file=("in.jsonl", INPUT), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
        )
        assert (file.filename, file.bytes, file.status) == ("in.jsonl", len(INPUT), "processed")
        assert file.expires_at == file.created_at + 3600
        assert await client.files.wait_for_processing(file.id) == await client.files.retrieve(file.id)
        assert [one.id async for one in client.files.list(purpose="batch", limit=1)] == [file.id]
        assert (await client.files.content(file.id)).content == INPUT
        assert (await client.files.delete(file.id)).deleted
        with pytest.raises(openai.NotFoundError):
            await client.files.retrieve(file.id)


async def test_upload_without_a_length_is_taken(api: httpx.AsyncClient) -> None:
    """Chunked, with the file before its purpose."""

    async def body() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.jsonl"\r\n\r\n'
        for _ in range(20):
            yield b"0123456789" * 10_000
        yield b'\r\n--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b--\r\n'

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    file = (await api.post("/files", content=body(), headers=headers)).json()
    assert (file["bytes"], file["filename"]) == (2_000_000, "x.jsonl")


async def test_memory_stays_flat_under_a_large_upload(serve: Serve) -> None:
    """The server is in this process: what it kept would show."""

    async def body() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
        for _ in range(640):
            yield b"x" * 100_000
        yield b"\r\n--b--\r\n"

    async with serve() as api:
        before = psutil.Process().memory_info().rss
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        answer = await api.post("/files", content=body(), headers=headers)
        assert answer.json()["bytes"] == 64_000_000
        assert psutil.Process().memory_info().rss - before < 32_000_000


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"purpose": "fine-tune"}, "purpose"),
        ({"expires_after[seconds]": "5000"}, "expires_after.anchor"),
        ({"expires_after[anchor]": "created_at"}, "expires_after.seconds"),
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "5"}, "expires_after.seconds"),
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "1e4"}, "expires_after.seconds"),
    ],
)
async def test_wrong_field_is_refused(api: httpx.AsyncClient, fields: dict[str, str], param: str) -> None:
    answer = await upload(api, **fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b""),
        ("multipart/form-data; boundary=b", b"garbage"),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx'),
        ("multipart/form-data; boundary=b", b"--b--\r\n"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n' + b"x" * 5000 + b"\r\n--b--\r\n",
        ),
    ],
)
async def test_what_is_no_form_is_refused(api: httpx.AsyncClient, content_type: str, body: bytes) -> None:
    """And leaves nothing behind."""
    answer = await api.post("/files", content=body, headers={"Content-Type": content_type})
    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert (await api.get("/files")).json()["data"] == []


async def test_too_large_file_is_refused(serve: Serve) -> None:
    async with serve(CHATQ_FILES__MAX_BYTES="2000") as api:
        answer = await upload(api, b"x" * 3_000)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "file_too_large")
        assert (await upload(api, b"x" * 2_000)).status_code == 200


async def test_same_key_and_content_is_the_same_file(api: httpx.AsyncClient) -> None:
    """Other content under the key is a conflict that is not worth another try."""
    first = await made(api, key="k")
    assert await made(api, key="k") == first
    answer = await upload(api, b"other", key="k")
    assert (answer.status_code, answer.headers["x-should-retry"]) == (409, "false")
    assert (await api.get(f"/files/{first['id']}/content")).content == INPUT


async def test_list_pages_and_orders(api: httpx.AsyncClient) -> None:
    made_ids = []
    for _ in range(3):
        made_ids.append((await made(api))["id"])
        await asyncio.sleep(0.002)
    page = (await api.get("/files", params={"limit": 2})).json()
    assert ([one["id"] for one in page["data"]], page["has_more"]) == (made_ids[:0:-1], True)
    assert (page["first_id"], page["last_id"]) == (made_ids[2], made_ids[1])
    rest = (await api.get("/files", params={"after": made_ids[1]})).json()
    assert ([one["id"] for one in rest["data"]], rest["has_more"]) == (made_ids[:1], False)
    up = (await api.get("/files", params={"order": "asc"})).json()
    assert [one["id"] for one in up["data"]] == made_ids


@pytest.mark.parametrize(
    ("given", "status", "content"),
    [
        ("bytes=0-4", 206, INPUT[:5]),
        ("bytes=5-", 206, INPUT[5:]),
        ("bytes=-4", 206, INPUT[-4:]),
        ("bytes=0-999", 200, INPUT),
        ("bytes=1-2,4-5", 200, INPUT),
        ("nonsense", 200, INPUT),
    ],
)
async def test_range_gives_a_part(api: httpx.AsyncClient, given: str, status: int, content: bytes) -> None:
    """What is not understood is not heeded."""
    file = await made(api)
    answer = await api.get(f"/files/{file['id']}/content", headers={"Range": given})
    assert (answer.status_code, answer.content) == (status, content)
    assert answer.headers["content-length"] == str(len(content))


async def test_range_behind_the_end_is_refused(api: httpx.AsyncClient) -> None:
    file = await made(api)
    answer = await api.get(f"/files/{file['id']}/content", headers={"Range": "bytes=500-"})
    assert answer.status_code == 416


async def test_empty_file_is_a_file(api: httpx.AsyncClient) -> None:
    file = await made(api, b"")
    assert (await api.get(f"/files/{file['id']}/content")).content == b""


async def test_content_that_is_gone_is_not_found(api: httpx.AsyncClient, settings: Settings) -> None:
    """The file store lost it, or somebody tidied up."""
    file = await made(api)
    blobs = open_blobs(settings)
    await blobs.delete([one.name for one in await blobs.find("files")])
    assert (await api.get(f"/files/{file['id']}/content")).status_code == 404


async def test_refused_upload_leaves_no_bytes(api: httpx.AsyncClient, settings: Settings) -> None:
    """Nor does one under a key whose content is there."""
    await made(api, key="k")
    for fields in ({"purpose": "fine-tune"}, {"key": "k"}):
        await upload(api, **fields)
    assert len(await open_blobs(settings).find("files")) == 1


@pytest.mark.parametrize("path", ["/files/file-nothing", "/files/x%00y", "/files/file-1/content"])
async def test_unknown_file_is_not_found(api: httpx.AsyncClient, path: str) -> None:
    answer = await api.get(path)
    assert answer.status_code == 404
    assert (await api.get("/files", params={"after": "file-1"})).status_code == 404
