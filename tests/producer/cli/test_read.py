"""`chatq get`, `wait` and `cancel`."""

from __future__ import annotations

import asyncio
import json
import re
import time

import pytest

from producer import Producer
from producer.cli.answer import show
from shared.errors import JobFailed
from shared.job import Attempt, Candidate, Job, JobError, JobState, WaitReason
from tests.support import WorkerRunner

from .conftest import RunChatq

REQUEST = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def env(redis_url: str) -> dict[str, str]:
    return {"CHATQ_REDIS_URL": redis_url}


async def test_get_tells_why_a_job_waits(
    run_chatq: RunChatq, env: dict[str, str], producer: Producer
) -> None:
    """State and reason; waiting is no failure."""
    job_id = await producer.submit(REQUEST)
    result = await asyncio.to_thread(run_chatq, "get", job_id, **env)
    assert result.exit_code == 0
    assert "queued · 0 before it · no worker serves its queue" in result.stdout
    assert "ollama.default" in result.stdout


async def test_get_prints_the_answer(run_chatq: RunChatq, workers: WorkerRunner, producer: Producer) -> None:
    """The text for people, everything as JSON for programs."""
    workers.start()
    job_id = await producer.submit(REQUEST)
    await producer.wait(job_id, timeout_s=20)
    text = await asyncio.to_thread(run_chatq, "get", job_id, **workers.env)
    data = await asyncio.to_thread(run_chatq, "get", job_id, "--json", **workers.env)
    job = json.loads(data.stdout)
    assert (job["id"], job["status"]) == (job_id, "completed")
    assert text.stdout.strip() == job["response"]["choices"][0]["message"]["content"]


@pytest.mark.parametrize("command", ["get", "wait", "cancel"])
def test_unknown_job_exits_with_4(command: str, run_chatq: RunChatq, env: dict[str, str]) -> None:
    """Never accepted, or long gone."""
    result = run_chatq(command, "0" * 32, **env)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (4, "", 1)


async def test_failed_job_exits_with_1(
    run_chatq: RunChatq, workers: WorkerRunner, producer: Producer
) -> None:
    """With provider, code and reason; the JSON is complete all the same."""
    workers.start()
    job_id = await producer.submit({**REQUEST, "model": "sim-fault-bad-key"})
    result = await asyncio.to_thread(run_chatq, "wait", job_id, "--timeout", "20", "--json", **workers.env)
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["status"] == 401
    assert result.stderr.startswith(f"chatq: job {job_id} is failed at ollama: ")


async def test_wait_gives_up_with_6(run_chatq: RunChatq, env: dict[str, str], producer: Producer) -> None:
    """The job goes on."""
    job_id = await producer.submit(REQUEST)
    result = await asyncio.to_thread(run_chatq, "wait", job_id, "--timeout", "0.1", **env)
    assert result.exit_code == 6
    assert (await producer.get(job_id)).state is JobState.QUEUED


async def test_cancelled_job_stays_cancelled(
    run_chatq: RunChatq, env: dict[str, str], producer: Producer
) -> None:
    """A second time changes nothing; it reads as a job without an answer."""
    job_id = await producer.submit(REQUEST)
    first = await asyncio.to_thread(run_chatq, "cancel", job_id, **env)
    second = await asyncio.to_thread(run_chatq, "cancel", job_id, "--json", **env)
    read = await asyncio.to_thread(run_chatq, "get", job_id, **env)
    assert first.stdout == "cancelled\n"
    assert json.loads(second.stdout) == {"id": job_id, "status": "cancelled"}
    assert (read.exit_code, read.stdout) == (1, "")


def ended(state: JobState, **fields: object) -> Job:
    return Job(
        id="j", state=state, lane="default", queue="ollama.default", requested_model="m",
        candidate=Candidate("ollama", "m"), attempts=1, created_at=0.0, **fields,  # type: ignore[arg-type]
    )  # fmt: skip


def test_waiting_job_tells_its_whole_story(capsys: pytest.CaptureFixture[str]) -> None:
    """Place, reason, ETA; where it is among its candidates; what its calls came to."""
    there, here = Candidate("openrouter", "a/b"), Candidate("ollama", "m")
    show(
        ended(
            JobState.QUEUED, place=1204, wait_reason=WaitReason.RATE_LIMITED, waits_until=time.time() + 60,
            eta_s=190.0, held_by="ollama", candidates=[there, here],
            attempts_log=[Attempt(1, there, 0.0, 0.25, 503, "overloaded", 7, None, 0.5, True)],
        ),
        as_json=False,
    )  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"state +queued · 1,204 before it · rate limited until [\d :-]+ · about 3 min", lines[0]
    )
    assert "ollama: m (2 of 2)" in "\n".join(lines)
    assert re.fullmatch(
        r"attempt 1 +[\d :-]+ · openrouter: a/b · overloaded · HTTP 503 · 0.25 s · 7 \+ 0 tokens"
        r" · \$0.5000 · maybe billed",
        lines[-1],
    )


def test_tool_call_is_shown_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """An answer without text is its message."""
    message = {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}
    show(ended(JobState.COMPLETED, response={"choices": [{"message": message}]}), as_json=False)
    assert json.loads(capsys.readouterr().out) == message


def test_error_text_cannot_steer_the_terminal() -> None:
    """What a provider sends is shown, not obeyed."""
    error = JobError("request_refused", "\x1b[2Jgone\x07", 400, "ollama")
    with pytest.raises(JobFailed, match=r"\\x1b\[2Jgone\\x07"):
        show(ended(JobState.FAILED, error=error), as_json=False)
