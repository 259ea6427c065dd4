"""The server around the application: processes, stopping, and what callers do to connections."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator

import httpx
import psutil
import pytest

from producer.api import protocol
from tests.producer.api.conftest import CHAT, Serve
from tests.producer.cli.process import CHATQ, Chatq, finished, said
from tests.support import ROOT, RedisServer, wait_until

ANYWHERE = ("--bind", "127.0.0.1:0")


@pytest.fixture
async def chatq(redis_url: str, tmp_path: str) -> AsyncIterator[Chatq]:
    """Starts commands on the test's Redis, with a provider that nobody answers at."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "CHATQ_REDIS_URL": redis_url,
        "CHATQ_API__GRACE_S": "0.3",
        "CHATQ_PROVIDERS__OLLAMA__BASE_URL": "http://127.0.0.1:9",
    }
    started = Chatq(ROOT, env)
    yield started
    await started.stop_all()


async def base_url(process: Process) -> str:
    """Where a server says that it serves."""
    line = await said(process, "serving at")
    found = re.search(r"http://\S+", line)
    assert found is not None, line
    return found[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_stop_ends_long_polls_and_streams_promptly(
    chatq: Chatq, redis_server: RedisServer, number: signal.Signals
) -> None:
    """Who has no answer yet is told to ask again, and nothing is logged as an error.

    Jobs go on, but for those that nobody can ask for again: the caller makes a new one, and would pay for both.
    """
    process = await chatq.start("api", *ANYWHERE)
    async with httpx.AsyncClient(base_url=await base_url(process), timeout=20, trust_env=False) as api:
        job_id = (await api.post("/jobs", json={"request": CHAT})).json()["id"]
        polling = asyncio.create_task(api.get(f"/jobs/{job_id}", params={"wait": 60}))
        keyed, waits = {"Idempotency-Key": "k"}, {"Prefer": "wait=60"}
        held = [
            asyncio.create_task(api.post("/chat/completions", json=CHAT, headers=headers))
            for headers in ({}, keyed, waits)
        ]
        async with api.stream("GET", f"/jobs/{job_id}/events") as events:
            assert events.status_code == 200
            await waiting(api, 4)
            process.send_signal(number)
            for answer in await asyncio.gather(polling, *held):
                assert (answer.status_code, answer.json()["error"]["code"]) == (503, "server_stopping")
                assert float(answer.headers["retry-after"]) <= 2
            with pytest.raises(httpx.RemoteProtocolError):
                await events.aread()
    ended = await finished(process)
    assert ended.code == 0
    assert "Traceback" not in ended.err
    assert "the server is done" in ended.err
    with redis_server.client() as raw:
        states = [raw.hget(key, "status") for key in raw.scan_iter("rq:job:*")]
    assert sorted(map(str, states)) == ["canceled", "canceled", "queued", "queued"]


async def waiting(api: httpx.AsyncClient, count: int) -> None:
    """Until so many calls wait for their answer, the one that asks not counted."""
    async with asyncio.timeout(10):
        while True:
            text = (await api.get(str(api.base_url).replace("/v1/", "/metrics"))).text
            counts = re.findall(r'chatq_api_waiting\{operation="(?!GET /metrics)[^"]*"\} (\d)', text)
            if sum(map(int, counts)) == count:
                return


async def test_second_signal_ends_at_once(chatq: Chatq) -> None:
    process = await chatq.start("api", *ANYWHERE, CHATQ_API__GRACE_S="600")
    async with httpx.AsyncClient(base_url=await base_url(process), timeout=20, trust_env=False) as api:
        job_id = (await api.post("/jobs", json={"request": CHAT})).json()["id"]
        polling = asyncio.create_task(api.get(f"/jobs/{job_id}", params={"wait": 60}))
        await waiting(api, 1)
        process.send_signal(signal.SIGTERM)
        await said(process, "asked to stop")
        process.send_signal(signal.SIGTERM)
        ended = await finished(process)
        await asyncio.gather(polling, return_exceptions=True)
    assert ended.code == 0
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_open_address_without_a_token_does_not_start(chatq: Chatq, workers: str) -> None:
    ended = await chatq.run("api", "--bind", "0.0.0.0:0", "--workers", workers)
    assert ended.code == 3
    assert "there is no token" in ended.err


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_address_in_use_does_not_start(chatq: Chatq, workers: str) -> None:
    """Also where processes share an address, which another server of this user could do, too."""
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:
        port = taken.getsockname()[1]
        ended = await chatq.run("api", "--bind", f"127.0.0.1:{port}", "--workers", workers)
    assert ended.code == 3
    assert "cannot listen" in ended.err


async def test_store_that_is_not_there_is_one_line(chatq: Chatq) -> None:
    ended = await chatq.run("api", *ANYWHERE, CHATQ_REDIS_URL="redis://127.0.0.1:9")
    assert ended.code == 5
    assert "Traceback" not in ended.err


async def test_wrong_address_is_a_usage_error(chatq: Chatq) -> None:
    assert (await chatq.run("api", "--bind", "nowhere")).code == 2


async def test_processes_share_an_address_and_are_replaced(chatq: Chatq) -> None:
    """What connects to the socket of one that died waits for its successor."""
    process = await chatq.start("api", *ANYWHERE, "--workers", "2")
    url = await base_url(process)
    assert await base_url(process) == url
    children = psutil.Process(process.pid).children()
    assert len(children) == 2
    children[0].kill()
    async with httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as api:
        for _ in range(20):
            assert (await api.get("/models", headers={"connection": "close"})).status_code == 200
    assert await base_url(process) == url
    process.terminate()
    ended = await finished(process)
    assert (ended.code, "Traceback" in ended.err) == (0, False)
    await wait_until(lambda: not any(child.is_running() for child in children))


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_server_ends_with_its_parent(chatq: Chatq, workers: str) -> None:
    command = [CHATQ, "api", *ANYWHERE, "--follow-parent", "--workers", workers]
    code = f"import subprocess; subprocess.Popen({command!r}).wait()"
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, env=chatq.env, stdout=PIPE, stderr=PIPE
    )
    await base_url(parent)
    family = psutil.Process(parent.pid).children(recursive=True)
    parent.kill()
    await wait_until(lambda: not any(one.is_running() for one in family))
    assert parent.stderr is not None
    assert b"Traceback" not in await parent.stderr.read()
    await parent.wait()


class Wire:
    """A connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, api: httpx.AsyncClient) -> Wire:
        return cls(*await asyncio.open_connection("127.0.0.1", api.base_url.port))

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        try:
            await self._writer.drain()
        except ConnectionError:
            return  # it was closed meanwhile: what was said before that is still to be read

    async def rest(self) -> bytes:
        """What comes until the server closes."""
        async with asyncio.timeout(10):
            try:
                return await self._reader.read()
            finally:
                self._writer.close()


GET = b"GET /health HTTP/1.1\r\nhost: x\r\n"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (GET + b"x: " + b"a" * 100_000 + b"\r\n\r\n", 431),
        (GET + b"a" * 100_000 + b": x\r\n\r\n", 431),
        (GET + b"x: " + b"a" * 5_000_000, 431),
        (GET + b"".join(b"x-%d: a\r\n" % n for n in range(1_000)) + b"\r\n", 431),
        (GET + b"".join(b"x-%d: %s\r\n" % (n, b"a" * 1_000) for n in range(100)) + b"\r\n", 431),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", 431),
        (b"GET /?" + b"a" * 1_000_000, 431),
        (b"nonsense\r\n\r\n", 400),
        (b"GET /h\xff HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (GET + b"bad header: \x00\r\n\r\n", 400),
        (GET + b"content-length: -1\r\n\r\n", 400),
        (GET + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        (GET + b"content-length: 1\r\ncontent-length: 2\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    ],
    ids=[
        "value", "name", "endless value", "many", "many large", "path", "endless query", "no HTTP", "path of bytes",
        "NUL", "negative length", "two framings", "two lengths", "TLS", "HTTP/2",
    ],
)  # fmt: skip
async def test_bad_head_is_refused(api: httpx.AsyncClient, head: bytes, status: int) -> None:
    """In the words of every other error; and the server goes on."""
    wire = await Wire.open(api)
    await wire.send(head)
    answer = await wire.rest()
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    for part in (b"x-request-id: req_", b'"error":{"message":', b'"param":null', b"connection: close"):
        assert part in answer
    assert (await api.get("/models")).status_code == 200


async def test_head_of_the_largest_size_is_taken(api: httpx.AsyncClient) -> None:
    """One after another on a connection, also in pieces: each is counted for itself."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.base_url.port)
    head = GET + b"x: " + b"a" * 60_000 + b"\r\n\r\n"
    async with asyncio.timeout(10):
        for _ in range(3):
            for start in range(0, len(head), 10_000):
                writer.write(head[start : start + 10_000])
                await writer.drain()
            assert (await reader.readuntil(b'{"status":"ok"}')).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_head_that_does_not_come_is_not_waited_for(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who began to ask is told; who said nothing yet is not, for that might be taken for a later answer."""
    monkeypatch.setattr(protocol, "HEAD_S", 0.2)
    for said_so_far, beginning in ((b"GET /he", b"HTTP/1.1 408 "), (b"", b""), (b"\r\n\r\n", b"")):
        wire = await Wire.open(api)
        await wire.send(said_so_far)
        answer = await wire.rest()
        assert answer[:13] == beginning


async def test_blank_lines_after_an_answer_keep_no_connection(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_S", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", api.base_url.port)
    writer.write(GET + b"\r\n")
    async with asyncio.timeout(10):
        await reader.readuntil(b'{"status":"ok"}')
        writer.write(b"\r\n")
        assert await reader.read() == b""
    writer.close()


async def test_nonsense_behind_a_held_call_lands_in_no_answer(api: httpx.AsyncClient) -> None:
    job_id = (await api.post("/jobs", json={"request": CHAT})).json()["id"]
    wire = await Wire.open(api)
    await wire.send(b"GET /v1/jobs/%s?wait=30 HTTP/1.1\r\nhost: localhost\r\n\r\n" % job_id.encode())
    await waiting(api, 1)
    await wire.send(b"nonsense\r\n\r\n")
    assert await wire.rest() == b""


async def test_connections_over_the_bound_are_told_to_come_again(serve: Serve) -> None:
    async with serve(CHATQ_API__MAX_CONNECTIONS="2") as api:
        kept = [await Wire.open(api) for _ in range(2)]
        for wire in kept:  # so that it is surely there
            await wire.send(GET)
        answer = await (await Wire.open(api)).rest()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b'"code":"too_many_connections"' in answer
        await kept[0].send(b"connection: close\r\n\r\n")
        assert (await kept[0].rest()).startswith(b"HTTP/1.1 200 ")
        await kept[1].send(b"connection: close\r\n\r\n")
        await kept[1].rest()


async def test_health_readiness_and_metrics(api: httpx.AsyncClient) -> None:
    """Under the root, and under `/v1` as everything."""
    root = str(api.base_url).removesuffix("/v1/")
    assert (await api.get(f"{root}/health")).json() == {"status": "ok"}
    assert (await api.get("/ready")).json()["status"] == "ok"
    await api.get("/nowhere")
    answer = await api.get(f"{root}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'chatq_api_requests_total{operation="GET /health",status="200"} 1.0' in answer.text
    assert 'chatq_api_requests_total{operation="none",status="404"} 1.0' in answer.text
    assert "chatq_redis_up 1.0" in answer.text
    assert 'chatq_queue_depth{lane="batch",provider="ollama"} 0.0' in answer.text


async def test_readiness_is_decided_soon_while_redis_hangs(
    api: httpx.AsyncClient, redis_server: RedisServer
) -> None:
    """Who asks has a short patience: an answer after the socket's time-out would be none."""
    assert redis_server.process is not None
    redis_server.process.send_signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(3):
            assert (await api.get("/ready")).status_code == 503
    finally:
        redis_server.process.send_signal(signal.SIGCONT)
