"""What people are told of a job's cost."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from producer.cli.answer import show
from shared.job import Attempt, Candidate, Job, JobState


def job(state: JobState, **fields: Any) -> Job:
    failed = Attempt(1, Candidate("p", "m"), 0.0, 1.0, 500, "server_error", cost_usd=0.25, maybe_billed=True)
    return Job(
        id="j", state=state, lane="batch", queue="p.batch", requested_model="m", candidate=Candidate("p", "m"),
        attempts=2, created_at=0.0, attempts_log=[failed], **fields,
    )  # fmt: skip


def answered(cost_usd: float | None) -> Job:
    message = {"role": "assistant", "content": "the answer"}
    return job(
        JobState.COMPLETED, response={"choices": [{"message": message}], "chatq": {"cost_usd": cost_usd}}
    )


def test_terminal_hears_the_cost_beside_the_answer(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On standard error: what is piped on is the answer alone."""
    show(answered(0.5), as_json=False)
    assert capsys.readouterr() == ("the answer\n", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    show(answered(0.5), as_json=False)
    assert capsys.readouterr() == ("the answer\n", "chatq: cost $0.7500\n")
    show(answered(None), as_json=False)
    assert capsys.readouterr().err == "chatq: cost $0.2500 (unknown for 1)\n"


def test_waiting_job_shows_what_it_cost_so_far(capsys: pytest.CaptureFixture[str]) -> None:
    show(job(JobState.QUEUED), as_json=False)
    assert "cost       $0.2500\n" in capsys.readouterr().out


def test_programs_get_the_sum_of_all_calls(capsys: pytest.CaptureFixture[str]) -> None:
    show(answered(0.5), as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert (found["id"], found["cost_usd"], found["cost_unknown"]) == ("j", 0.75, 0)
