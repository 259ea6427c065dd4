"""`chatq dead`: list, show, replay, drop."""

from __future__ import annotations

import asyncio
import json

import pytest

from producer import Producer
from shared.job import WaitReason
from tests.support import WorkerRunner

from .conftest import RunChatq

REQUEST = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def dead_ids(workers: WorkerRunner, producer: Producer) -> list[str]:
    """Two jobs that a provider refused, one of them on another queue."""
    workers.start()
    ids = []
    for model, lane in (("sim-fault-bad-key", "default"), ("openrouter/sim-fault-bad-key", "batch")):
        ids.append(
            await producer.submit({**REQUEST, "model": model}, lane=lane, metadata={"case": "\x1b[2J"})
        )
        await producer.wait(ids[-1], timeout_s=20)
    return ids


async def test_letters_are_listed_newest_first(
    run_chatq: RunChatq, workers: WorkerRunner, dead_ids: list[str]
) -> None:
    """A row each for people, an object a line for programs."""
    text = await asyncio.to_thread(run_chatq, "dead", "list", **workers.env)
    data = await asyncio.to_thread(run_chatq, "dead", "list", "--json", **workers.env)
    assert [line.split()[0] for line in text.stdout.splitlines()] == ["id", *reversed(dead_ids)]
    jobs = [json.loads(line) for line in data.stdout.splitlines()]
    assert [(job["id"], job["error"]["status"]) for job in jobs] == [(i, 401) for i in reversed(dead_ids)]


@pytest.mark.parametrize(
    ("args", "at"),
    [
        (("--queue", "ollama"), [0]),
        (("--queue", "openrouter.batch"), [1]),
        (("--code", "nothing"), []),
        (("--since", "1h"), [1, 0]),
    ],
)
async def test_options_narrow_the_list(
    args: tuple[str, ...], at: list[int], run_chatq: RunChatq, workers: WorkerRunner, dead_ids: list[str]
) -> None:
    """Queue or provider, code, age."""
    result = await asyncio.to_thread(run_chatq, "dead", "list", "--json", *args, **workers.env)
    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == [dead_ids[n] for n in at]


async def test_letter_is_shown_with_its_attempts(
    run_chatq: RunChatq, workers: WorkerRunner, dead_ids: list[str]
) -> None:
    """What a caller wrote cannot steer the terminal."""
    text = await asyncio.to_thread(run_chatq, "dead", "show", dead_ids[0], **workers.env)
    data = await asyncio.to_thread(run_chatq, "dead", "show", dead_ids[0], "--json", **workers.env)
    assert text.exit_code == 0
    assert "ollama: sim-fault-bad-key" in text.stdout
    assert "HTTP 401" in text.stdout
    assert "\x1b" not in text.stdout
    (attempt,) = json.loads(data.stdout)["attempts_log"]
    assert (attempt["number"], attempt["status"]) == (1, 401)


async def test_letter_is_replayed_on_another_model(
    run_chatq: RunChatq, workers: WorkerRunner, dead_ids: list[str], producer: Producer
) -> None:
    """And answered there."""
    done = await asyncio.to_thread(
        run_chatq, "dead", "replay", dead_ids[0], "--model", "ollama_cloud/good", "--json", **workers.env
    )
    assert json.loads(done.stdout) == {"replayed": 1}
    job = await producer.wait(dead_ids[0], timeout_s=20)
    assert job.text is not None
    assert (job.requested_model, job.queue) == ("ollama_cloud/good", "ollama_cloud.default")


async def test_all_letters_are_dropped_after_a_question(
    run_chatq: RunChatq, workers: WorkerRunner, dead_ids: list[str]
) -> None:
    """No answer is no; --yes needs none."""
    kept = await asyncio.to_thread(run_chatq, "dead", "drop", "--all", **workers.env)
    one = await asyncio.to_thread(
        run_chatq, "dead", "drop", "--all", "--yes", "--queue", "ollama", **workers.env
    )
    all_ = await asyncio.to_thread(run_chatq, "dead", "drop", "--all", "--yes", "--json", **workers.env)
    assert kept.exit_code != 0
    assert "Delete all dead letters?" in kept.stderr
    assert (one.stdout, json.loads(all_.stdout)) == ("1 deleted\n", {"dropped": 1})


async def test_all_letters_are_replayed(
    run_chatq: RunChatq, workers: WorkerRunner, dead_ids: list[str], producer: Producer
) -> None:
    """They wait: what refused their keys is closed until somebody mends them."""
    done = await asyncio.to_thread(run_chatq, "dead", "replay", "--all", **workers.env)
    assert done.stdout == "2 queued again\n"
    jobs = [await producer.get(job_id) for job_id in dead_ids]
    assert [job.wait_reason for job in jobs] == [WaitReason.CREDENTIALS] * 2
    assert [str(job.held_by).partition("/")[0] for job in jobs] == ["ollama", "openrouter"]


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("show", "none"), 4, "no dead letter none"),
        (("replay", "none"), 4, "no dead letter none"),
        (("drop", "none"), 4, "no dead letter none"),
        (("replay",), 2, "give either IDs or --all"),
        (("drop", "x", "--all"), 2, "give either IDs or --all"),
        (("drop", "x", "--code", "c"), 2, "go with --all"),
        (("replay", "--all", "--model", "openrouter/x"), 4, "openrouter"),
        (("list", "--since", "soon"), 2, "write 90s"),
    ],
)
def test_wrong_use_is_refused(
    args: tuple[str, ...], code: int, words: str, run_chatq: RunChatq, redis_url: str
) -> None:
    """With what to do."""
    result = run_chatq("dead", *args, CHATQ_REDIS_URL=redis_url)
    assert (result.exit_code, result.stdout) == (code, "")
    assert words in result.stderr
