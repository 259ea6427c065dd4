"""`chatq batches` and `chatq batcher`: look, wait, cancel, retry, download; run until told to stop."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import Result

from producer.files.blobs import open_blobs
from shared.providers import ProviderRegistry
from shared.routing import Router
from shared.settings import Settings
from shared.store.connect import Store
from tests.producer.batcher.desk import Desk, QuickClient, line, running_batcher

from .conftest import RunChatq
from .process import Chatq, finished, said


class Shell:
    """Runs commands in a thread, on the test's store."""

    def __init__(self, run_chatq: RunChatq, redis_url: str) -> None:
        self._run = run_chatq
        self._url = redis_url

    async def __call__(self, *args: str) -> Result:
        return await asyncio.to_thread(self._run, "batches", *args, CHATQ_REDIS_URL=self._url)


@pytest.fixture
def shell(run_chatq: RunChatq, redis_url: str) -> Shell:
    return Shell(run_chatq, redis_url)


@pytest.fixture
def desk(store: Store, settings: Settings) -> Desk:
    return Desk(store, open_blobs(settings))


@pytest.fixture
async def batch_id(desk: Desk, settings: Settings, registry: ProviderRegistry) -> AsyncIterator[str]:
    """A batch that has ended: two lines answered, one failed."""
    client = QuickClient(settings, Router.from_settings(settings, registry))
    async with running_batcher(desk, settings, client):
        made = await desk.submit(line(1), line(2), line(3, temperature=9))
        await desk.ended(made)
    yield made


async def test_batches_are_listed(shell: Shell, batch_id: str) -> None:
    """A row each for people, an object a line for programs."""
    rows = (await shell("list")).stdout.splitlines()
    assert rows[0].split()[:5] == ["id", "status", "lines", "done", "failed"]
    assert rows[1].split()[:5] == [batch_id, "completed", "3", "2", "1"]
    (data,) = (await shell("list", "--json")).stdout.splitlines()
    assert json.loads(data)["id"] == batch_id
    assert len((await shell("list", "--client", "other")).stdout.splitlines()) == 1


async def test_batch_is_shown_with_its_failures(shell: Shell, batch_id: str) -> None:
    text = (await shell("show", batch_id)).stdout
    assert "2 of 3 answered, 1 failed" in text
    assert "failed invalid_request" in text
    view = json.loads((await shell("show", batch_id, "--json")).stdout)
    assert view["request_counts"] == {"total": 3, "completed": 2, "failed": 1}


async def test_refused_input_is_shown_with_its_lines(
    shell: Shell, desk: Desk, settings: Settings, registry: ProviderRegistry
) -> None:
    client = QuickClient(settings, Router.from_settings(settings, registry))
    async with running_batcher(desk, settings, client):
        made = await desk.submit(line(1), b"{\n")
        await desk.ended(made)
    text = (await shell("show", made)).stdout
    assert "line 2" in text
    assert "invalid_json_line" in text


async def test_watch_tells_by_its_exit_code(
    shell: Shell, desk: Desk, batch_id: str, settings: Settings, registry: ProviderRegistry
) -> None:
    """0 when every line was answered, else 1."""
    assert (await shell("watch", batch_id)).exit_code == 1
    client = QuickClient(settings, Router.from_settings(settings, registry))
    made = await desk.submit(line(1))
    watching = asyncio.create_task(shell("watch", made, "--json"))
    async with running_batcher(desk, settings, client):
        result = await watching
    assert (result.exit_code, json.loads(result.stdout)["status"]) == (0, "completed")


async def test_cancel_asks_for_the_end(shell: Shell, desk: Desk, batch_id: str) -> None:
    """One that has ended stays as it is."""
    made = await desk.submit(line(1))
    assert (await shell("cancel", made)).stdout == "cancelling\n"
    assert (await shell("cancel", batch_id)).stdout == "completed\n"


async def test_retry_prints_the_new_batch(shell: Shell, desk: Desk, batch_id: str) -> None:
    """The same one each time; a batch that goes on has none."""
    result = await shell("retry", batch_id)
    new_id = result.stdout.strip()
    assert (await desk.get(new_id)).spec.retry_of == batch_id
    assert (await shell("retry", batch_id)).stdout == result.stdout
    assert (await shell("retry", new_id)).exit_code == 2


async def test_results_are_downloaded(shell: Shell, batch_id: str, tmp_path: Path) -> None:
    """Under the names of the files, or beside each other under a name of one's own."""
    result = await shell("download", batch_id)
    assert result.exit_code == 0
    output = (tmp_path / f"{batch_id}_output.jsonl").read_text()
    assert [json.loads(text)["custom_id"] for text in output.splitlines()] == ["id-1", "id-2"]
    written = json.loads((await shell("download", batch_id, "-o", "out.jsonl", "--json")).stdout)
    assert [one["path"] for one in written] == ["out.jsonl", "out.errors.jsonl"]
    assert (tmp_path / "out.jsonl").read_text() == output


@pytest.mark.parametrize("command", ["show", "watch", "cancel", "retry", "download"])
async def test_unknown_batch_is_told(shell: Shell, command: str) -> None:
    result = await shell(command, "batch_nothing")
    assert result.exit_code == 4
    assert "no batch batch_nothing" in result.stderr


async def test_batcher_runs_until_it_is_told_to_stop(desk: Desk, redis_url: str, tmp_path: Path) -> None:
    """As a process: it takes what is there, and gives it back on SIGTERM."""
    made = await desk.submit(line(1))
    chatq = Chatq(tmp_path, {"HOME": str(tmp_path), "CHATQ_REDIS_URL": redis_url, "PATH": ""})
    process = await chatq.start("batcher")
    await said(process, "1 lines for")
    process.send_signal(signal.SIGTERM)
    assert (await finished(process)).code == 0
    assert (await desk.get(made)).status == "in_progress"
    assert await desk.batches.claim(lease_s=1) is not None
