"""Jobs with answers, and the deltas in which those answers would have been streamed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from producer.responses.request import echo, read_request
from shared.job import Candidate, Job, JobError, JobState

JOB_ID = "0123456789abcdef0123456789abcdef"

CREATED_AT = 1_790_000_000.25

Delta = list[dict[str, Any]]


def asked(**fields: Any) -> dict[str, Any]:
    """What a Response repeats of a small request."""
    return echo(read_request({"model": "ollama/m", "input": "hi", **fields}))


def job(
    state: JobState = JobState.COMPLETED,
    *,
    response: dict[str, Any] | None = None,
    error: JobError | None = None,
) -> Job:
    return Job(
        id=JOB_ID,
        state=state,
        lane="default",
        queue="ollama.default",
        requested_model="ollama/m",
        candidate=Candidate("ollama", "m"),
        attempts=1,
        created_at=CREATED_AT,
        ended_at=CREATED_AT + 2 if state.is_terminal else None,
        response=response,
        error=error,
    )


def completion(message: Mapping[str, Any], finish_reason: str = "stop", **choice: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", **message},
                "finish_reason": finish_reason,
                **choice,
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    }


def delta(finish_reason: str | None = None, **fields: Any) -> Delta:
    return [{"index": 0, "delta": fields, "finish_reason": finish_reason}]


def assembled(deltas: Sequence[Delta]) -> dict[str, Any]:
    """The message that deltas add up to, as a worker puts it together."""
    texts: dict[str, str] = {}
    calls: dict[int, dict[str, Any]] = {}
    for (choice,) in deltas:
        for name, value in choice["delta"].items():
            if name == "tool_calls":
                for call in value:
                    known = calls.setdefault(
                        call["index"], {"type": "function", "function": {"arguments": ""}}
                    )
                    known["id"] = known.get("id") or call.get("id")
                    function = call.get("function", {})
                    known["function"].setdefault("name", function.get("name"))
                    known["function"]["arguments"] += function.get("arguments", "")
            else:
                texts[name] = texts.get(name, "") + value
    message: dict[str, Any] = {"content": None, **texts}
    if calls:
        message["tool_calls"] = [call for _, call in sorted(calls.items())]
    return message
