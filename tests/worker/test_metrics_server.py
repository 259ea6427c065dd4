"""Metrics over HTTP, from a real worker process."""

from __future__ import annotations

import asyncio
import re
import signal
import socket

import httpx
import orjson
import psutil
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from producer import Producer
from shared.providers import ProviderRegistry
from shared.store.connect import Store
from tests.support import RedisServer, WorkerRunner, ended, wait_until
from worker.metrics import WorkerMetrics
from worker.metrics_server import CLIENTS, MetricsServer

REQUEST = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def port() -> int:
    """One that was free a moment ago; the server takes the next if it is not any more."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found: int = listener.getsockname()[1]
    return found


async def get(port: int, path: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        return await client.get(f"http://127.0.0.1:{port}{path}", timeout=20)


async def scrape(port: int) -> dict[str, Metric]:
    response = await get(port, "/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {family.name: family for family in text_string_to_metric_families(response.text)}


def value(family: Metric, **labels: str) -> float:
    return sum(s.value for s in family.samples if labels.items() <= s.labels.items())


def ports_of(log: str) -> set[int]:
    return {int(found) for found in re.findall(r"metrics at http://127\.0\.0\.1:(\d+)/metrics", log)}


async def listening(workers: WorkerRunner, process: object, count: int = 1) -> list[int]:
    await wait_until(lambda: len(ports_of(workers.log(process))) == count)  # type: ignore[arg-type]
    return sorted(ports_of(workers.log(process)))  # type: ignore[arg-type]


async def test_worker_tells_what_it_did(workers: WorkerRunner, producer: Producer, port: int) -> None:
    """Calls, waits, settling, queues, breakers and the use of limits, after three jobs."""
    process = workers.start(
        "--metrics-port", str(port),
        CHATQ_PROVIDERS__OLLAMA__LIMITS__RPM="600", CHATQ_JOBS__BACKOFF_BASE_S="0.01",
    )  # fmt: skip
    (port,) = await listening(workers, process)
    for model in ("m", "openrouter/v/sim-fault-500-first-1", "openrouter/v/sim-fault-bad-key"):
        await producer.wait(await producer.submit({**REQUEST, "model": model}), timeout_s=20)
    found = await scrape(port)
    assert value(found["chatq_attempts"], provider="ollama", outcome="ok") == 1
    assert value(found["chatq_attempts"], provider="openrouter", outcome="retry") == 1
    assert value(found["chatq_attempts"], provider="openrouter", outcome="credentials") == 1
    assert value(found["chatq_jobs"], state="completed") == 2
    assert value(found["chatq_queue_depth"]) == 0
    assert value(found["chatq_in_flight"]) == 0
    assert value(found["chatq_breaker_state"], scope="account:openrouter") == 2
    use = {(s.labels["scope"], s.labels["dimension"]) for s in found["chatq_ledger_use"].samples}
    assert ("account:ollama", "requests") in use
    counts = {
        s.name: s.value
        for name in ("chatq_settle_lag_seconds", "chatq_wait_seconds")
        for s in found[name].samples
    }
    assert counts["chatq_settle_lag_seconds_count"] == 4
    assert counts["chatq_wait_seconds_count"] >= 1


async def test_labels_are_bounded(
    workers: WorkerRunner, producer: Producer, redis_server: RedisServer, port: int
) -> None:
    """No job, client, key, source or model of a job; and as many series after the jobs as their kinds."""
    process = workers.start("--metrics-port", str(port), CHATQ_CLIENTS__ALICE__LIMITS__RPM="600")
    (port,) = await listening(workers, process)
    job_id = await producer.submit({**REQUEST, "model": "some-model"}, client="alice", source="nightly")
    await producer.wait(job_id, timeout_s=20)
    text = (await get(port, "/metrics")).text
    for private in (job_id, "alice", "nightly", "some-model", "test-key"):
        assert private not in text
    names = {
        label for family in text_string_to_metric_families(text) for s in family.samples for label in s.labels
    }
    assert names <= {
        "provider",
        "lane",
        "outcome",
        "direction",
        "reason",
        "scope",
        "dimension",
        "state",
        "le",
    }


async def test_each_process_has_a_port(workers: WorkerRunner, port: int) -> None:
    """From the given one on; a process that replaces a dead one takes over its port."""
    supervisor = workers.start("--processes", "2", "--metrics-port", str(port))
    first, second = await listening(workers, supervisor, 2)
    children = psutil.Process(supervisor.pid).children()
    children[0].send_signal(signal.SIGKILL)
    await wait_until(lambda: workers.log(supervisor).count("metrics at http") == 3)
    assert ports_of(workers.log(supervisor)) == {first, second}
    for each in (first, second):
        assert (await get(each, "/health")).status_code == 200
    supervisor.terminate()
    assert await ended(supervisor) == 0


async def test_no_port_means_no_server(workers: WorkerRunner) -> None:
    """Off unless asked for."""
    process = workers.start()
    await wait_until(lambda: "slots" in workers.log(process))
    listening_at = [c for c in psutil.Process(process.pid).net_connections("inet") if c.status == "LISTEN"]
    assert listening_at == []


async def test_health_follows_redis(workers: WorkerRunner, redis_server: RedisServer, port: int) -> None:
    """A script has to come back; while it cannot, the process's own metrics are still there."""
    process = workers.start("--metrics-port", str(port), CHATQ_REDIS__SOCKET_TIMEOUT_S="0.2")
    (port,) = await listening(workers, process)
    assert orjson.loads((await get(port, "/health")).content)["status"] == "ok"
    assert redis_server.process is not None
    redis_server.process.send_signal(signal.SIGSTOP)
    try:
        unwell, without = await get(port, "/health"), await scrape(port)
    finally:
        redis_server.process.send_signal(signal.SIGCONT)
    assert (unwell.status_code, orjson.loads(unwell.content)["status"]) == (503, "unavailable")
    assert value(without["chatq_redis_up"]) == 0
    assert "chatq_loop_lag_seconds" in without


@pytest.fixture
async def server_port(
    store: Store, registry: ProviderRegistry, port: int, caplog: pytest.LogCaptureFixture
) -> int:
    """A server in this process."""
    caplog.set_level("INFO")
    server = MetricsServer(store, WorkerMetrics([]), registry.registered, port=port)
    task = asyncio.create_task(server.run())
    await wait_until(lambda: bool(ports_of(caplog.text)))
    yield ports_of(caplog.text).pop()  # type: ignore[misc]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def ask(port: int, data: bytes) -> bytes:
    """The first line of the answer to these bytes; empty when the connection was closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    writer.write_eof()
    line = await reader.readline()
    writer.close()
    return line.strip()


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"GET /metrics?x=1 HTTP/1.1\r\nHost: h\r\n\r\n", b"HTTP/1.1 200 OK"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"HTTP/1.1 405 Method Not Allowed"),
        (b"GET /admin HTTP/1.1\r\n\r\n", b"HTTP/1.1 404 Not Found"),
        (b"\xff\x00 \r\n\r\n", b"HTTP/1.1 404 Not Found"),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 20_000, b""),
        (b"GET /metr", b""),
    ],
)
async def test_any_request_gets_its_answer(server_port: int, data: bytes, answer: bytes) -> None:
    """What is no request, or too large a one, is cut off; the next one is served all the same."""
    try:
        assert await ask(server_port, data) == answer
    except ConnectionResetError:
        assert answer == b""
    assert (await get(server_port, "/health")).status_code == 200


async def test_too_many_clients_are_turned_away(server_port: int) -> None:
    """Those that hang on cost no more than their connections."""
    idle = [await asyncio.open_connection("127.0.0.1", server_port) for _ in range(CLIENTS)]
    assert (await get(server_port, "/metrics")).status_code == 503
    for _, writer in idle:
        writer.close()
    async with asyncio.timeout(10):
        while (await get(server_port, "/metrics")).status_code != 200:
            await asyncio.sleep(0.01)


async def test_no_free_port_is_an_exit(workers: WorkerRunner) -> None:
    """Told at the start, not found out in an outage."""
    with socket.create_server(("127.0.0.1", 65_535)):
        process = workers.start("--metrics-port", "65535", ready=False)
        assert await ended(process) == 3
    assert "no port from 65535 to 65535 is free" in workers.log(process)
