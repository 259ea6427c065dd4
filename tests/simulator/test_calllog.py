from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from simulator import CallRecord, text_digest
from simulator.calllog import CallLog, decode
from tests.simulator.calls import PATHS, WIRES, chat
from tests.simulator.conftest import StartSimulator
from tests.support import wait_until

HEADERS = {"X-Chatq-Job": "job-1", "X-Chatq-Attempt": "2", "X-Source": "judge"}


@pytest.mark.parametrize("wire", WIRES)
async def test_record_tells_all_about_call(
    start: StartSimulator, client: httpx.AsyncClient, wire: str
) -> None:
    """Who called, what was asked, what was sent."""
    simulator = await start(output_tokens=7)
    response = await chat(client, simulator.url, wire, headers=HEADERS)
    record = simulator.calls[0]
    assert (record.n, record.wire, record.path, record.model) == (1, wire, PATHS[wire], "m")
    assert (record.job, record.attempt, record.source) == ("job-1", "2", "judge")
    assert (record.digest, record.status, record.fault) == (text_digest("m", "", "hi"), 200, None)
    assert (record.prompt_tokens, record.output_tokens) == (1, 7)
    assert record.sent_bytes > len(response.content)
    assert record.arrived_at <= record.ended_at
    assert record.charged_tokens == 8


async def test_times_measure_the_call(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """Start and end are on this machine's monotonic clock, and the latency lies between them."""
    simulator = await start()
    before_s = time.monotonic()
    await chat(client, simulator.url, "openai", model="sim-latency-0.05")
    record = simulator.calls[0]
    assert record.started_s is not None
    assert before_s <= record.started_s <= record.ended_s - 0.049 < time.monotonic()


@pytest.mark.parametrize("settings", [{"key": "k"}, {"models": ("a",)}, {"tpm": 1}])
async def test_refused_call_has_no_start(
    start: StartSimulator, client: httpx.AsyncClient, settings: dict[str, Any]
) -> None:
    """Key, model and limits refuse before anything is charged."""
    simulator = await start(**settings)
    await chat(client, simulator.url, "openai")
    record = simulator.calls[0]
    assert (record.started_s, record.charged_tokens) == (None, 0)


async def test_log_page_reads_back_as_records(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """Another process measures from the same records."""
    simulator = await start()
    await chat(client, simulator.url, "openai", headers=HEADERS)
    assert decode((await client.get(f"{simulator.url}/_sim/log")).content) == simulator.calls


async def test_file_gets_records_while_running(
    start: StartSimulator, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    """Records reach the file by themselves, in the form of the log page."""
    path = tmp_path / "calls.jsonl"
    path.write_text('{"n":"from an earlier run"}\n')
    simulator = await start(log_path=path)
    await chat(client, simulator.url, "openai")
    await chat(client, simulator.url, "ollama", model="sim-fault-500")
    await wait_until(lambda: len(path.read_bytes().splitlines()) == 3)
    page = await client.get(f"{simulator.url}/_sim/log")
    assert path.read_bytes().splitlines()[1:] == page.content.splitlines()


async def test_stop_writes_calls_under_way(
    start: StartSimulator, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    """Nothing that was asked is missing from the file after a stop."""
    path = tmp_path / "calls.jsonl"
    simulator = await start(log_path=path)
    stopping = client.post(
        f"{simulator.url}/v1/chat/completions",
        json={"model": "sim-fault-hang", "messages": [{"role": "user", "content": "x"}]},
        timeout=httpx.Timeout(10, read=0.2),
    )
    with pytest.raises(httpx.ReadTimeout):
        await stopping
    await simulator.stop()
    record = orjson.loads(path.read_bytes())
    assert (record["fault"], record["model"]) == ("hang", "sim-fault-hang")


async def test_log_page_continues_where_left(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """`since` takes the number of the last record seen."""
    simulator = await start()
    for user in "abc":
        await chat(client, simulator.url, "openai", user=user)
    page = await client.get(f"{simulator.url}/_sim/log", params={"since": 1})
    assert [orjson.loads(line)["n"] for line in page.text.splitlines()] == [2, 3]
    assert (await client.get(f"{simulator.url}/_sim/log?since=3")).text == ""
    assert (await client.get(f"{simulator.url}/_sim/log?since=x")).status_code == 400


async def test_ring_forgets_oldest_records() -> None:
    """Memory is bounded, and numbers stay true."""
    log = CallLog(ring=2, path=None)
    for _ in range(5):
        log.append(CallRecord(0.0, "openai", "/", None, None, None))
    assert [record.n for record in log.records()] == [4, 5]
    assert [record.n for record in log.records(since=4)] == [5]
    assert log.records(since=9) == []


async def test_health_checks_are_not_calls(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """Only chat calls are recorded."""
    simulator = await start()
    await client.get(f"{simulator.url}/api/tags")
    assert simulator.calls == []
