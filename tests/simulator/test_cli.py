from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import orjson
import pytest
from click.testing import CliRunner

from simulator.cli import simulate
from tests.simulator.calls import chat


@asynccontextmanager
async def running(*args: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """`python -m simulator`, and the line it printed when ready."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "simulator", "--port", "0", *args,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield process, (await process.stdout.readline()).decode().strip()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_command_runs_until_signal(
    client: httpx.AsyncClient, tmp_path: Path, number: signal.Signals
) -> None:
    """It announces its URL, answers, resets where told, and on a signal writes its log and exits 0."""
    ready_file, log = tmp_path / "url", tmp_path / "calls.jsonl"
    async with running("--ready-file", str(ready_file), "--log", str(log), "--seed", "4") as (process, line):
        # The file is put in place right after the line.
        url = line.rpartition(" ")[2]
        assert (await chat(client, url, "openai")).status_code == 200
        with pytest.raises(httpx.ReadError):
            await chat(client, url, "ollama", model="sim-fault-reset")
        assert ready_file.read_text() == f"{url}\n"
        process.send_signal(number)
        assert await process.wait() == 0
    assert not ready_file.exists()
    assert [orjson.loads(text)["status"] for text in log.read_text().splitlines()] == [200, None]


async def test_command_ends_with_its_input(client: httpx.AsyncClient) -> None:
    """If that is wanted: what comes before the end is nothing to it."""
    async with running("--until-eof") as (process, line):
        assert process.stdin is not None
        process.stdin.write(b"words\n")
        await process.stdin.drain()
        assert (await chat(client, line.rpartition(" ")[2], "openai")).status_code == 200
        process.stdin.close()
        assert await process.wait() == 0


async def test_options_reach_the_simulator(client: httpx.AsyncClient) -> None:
    """Models, limits, faults and latency come from the command line."""
    args = [
        "--models",
        "a, b",
        "--rpm",
        "50",
        "--fault",
        "500=0.5",
        "--fault",
        "503=0.5",
        "--latency",
        "0.001",
    ]
    async with running(*args) as (_, line):
        settings = (await client.post(f"{line.rpartition(' ')[2]}/_sim/set", json={})).json()
    assert (settings["models"], settings["rpm"], settings["latency"]) == (["a", "b"], 50, "0.001")
    assert settings["faults"] == {"500": 0.5, "503": 0.5}


async def test_limit_options_reach_the_simulator(client: httpx.AsyncClient) -> None:
    """Per-model limits, slice, charging rule and headers; a model's name may hold colons."""
    limits = ["--model-limit", "qwen:latest:rpm=60,concurrency=2", "--model-limit", "b:tpm=9"]
    args = [*limits, "--slice", "0.5", "--charge", "max", "--rate-headers", "none"]
    async with running(*args) as (_, line):
        settings = (await client.post(f"{line.rpartition(' ')[2]}/_sim/set", json={})).json()
    assert settings["model_limits"] == {
        "qwen:latest": {"rpm": 60, "tpm": None, "concurrency": 2},
        "b": {"rpm": None, "tpm": 9, "concurrency": None},
    }
    assert (settings["slice_s"], settings["charge"], settings["rate_headers"]) == (0.5, "max", "none")


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (["--host", "0.0.0.0"], "not a loopback address"),
        (["--fault", "earthquake=1"], "NAME one of 429"),
        (["--fault", "500=often"], "NAME=P"),
        (["--fault", "500=1.5"], "faults.500"),
        (["--latency", "soon"], "not a distribution"),
        (["--rpm", "0"], "rpm"),
        (["--model-limit", "m"], "NAME:rpm=60"),
        (["--model-limit", "m:rpm=many"], "NAME:rpm=60"),
        (["--model-limit", "m:rps=1"], "rps"),
        (["--slice", "61"], "slice_s"),
        (["--charge", "twice"], "actual"),
        (["--rate-headers", "all"], "retry-after"),
        (["--port", "70000"], "port"),
    ],
)
def test_wrong_option_exits_2(args: list[str], complaint: str) -> None:
    """A usage error names what is allowed."""
    result = CliRunner().invoke(simulate, args)
    assert (result.exit_code, complaint in result.output) == (2, True)


async def test_taken_port_exits_3() -> None:
    """A port in use is one line that says what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "simulator", "--port", port, stderr=asyncio.subprocess.PIPE
        )
        _, errors = await process.communicate()
    assert process.returncode == 3
    assert b"choose another --port" in errors and len(errors.splitlines()) == 1
