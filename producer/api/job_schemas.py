"""What jobs look like over HTTP, as JSON Schema."""

from __future__ import annotations

from typing import Any

from shared.job import JobState, WaitReason

_TEXT, _MAYBE_TEXT = {"type": "string"}, {"type": ["string", "null"]}
_MAYBE_NUMBER, _MAYBE_INTEGER = {"type": ["number", "null"]}, {"type": ["integer", "null"]}
_CANDIDATE = {
    "type": "object",
    "required": ["provider", "model"],
    "properties": {"provider": _TEXT, "model": _TEXT},
}
_MAYBE_CANDIDATE = {"oneOf": [_CANDIDATE, {"type": "null"}]}


def _at(what: str) -> dict[str, Any]:
    return {"type": ["number", "null"], "description": f"{what}, Unix seconds"}


_ATTEMPT = {
    "type": "object",
    "properties": {
        "number": _MAYBE_INTEGER,
        "candidate": _MAYBE_CANDIDATE,
        "started_at": _at("When it began"),
        "duration_s": _MAYBE_NUMBER,
        "status": {"type": ["integer", "null"], "description": "HTTP status of the answer"},
        "error": _MAYBE_TEXT,
        "input_tokens": _MAYBE_INTEGER,
        "output_tokens": _MAYBE_INTEGER,
        "cost_usd": _MAYBE_NUMBER,
        "maybe_billed": {"type": "boolean"},
        "rates_for": {
            "type": ["string", "null"],
            "description": "The group that had the job rated by this call",
        },
    },
}

_ERROR = {
    "type": "object",
    "required": ["code", "message"],
    "properties": {
        "code": _TEXT,
        "message": _TEXT,
        "status": _MAYBE_INTEGER,
        "provider": _MAYBE_TEXT,
        "upstream_model": _MAYBE_TEXT,
    },
}

STATUS = {"enum": list(JobState)}

JOB = {
    "type": "object",
    "required": ["id", "object", "status", "lane", "attempts", "metadata", "response", "error"],
    "properties": {
        "id": _TEXT,
        "object": {"const": "job"},
        "status": STATUS,
        "lane": _TEXT,
        "queue": _TEXT,
        "requested_model": _MAYBE_TEXT,
        "candidate": {**_MAYBE_CANDIDATE, "description": "The one it is at, or ended at"},
        "candidates": {"type": "array", "items": _CANDIDATE},
        "chain": {"type": "array", "items": _TEXT, "description": "What groups decided"},
        "attempts": {"type": "integer", "minimum": 0},
        "attempts_log": {"type": "array", "items": _ATTEMPT},
        "created_at": _at("When it was accepted"),
        "started_at": _at("When its last call began"),
        "ended_at": _at("When it ended"),
        "waits_until": _at("When what holds it back lets go"),
        "wait_reason": {"enum": [*WaitReason, None]},
        "held_by": {
            "type": ["string", "null"],
            "description": "What holds it back: an account, a model, a client",
        },
        "place": {"type": ["integer", "null"], "description": "About how many jobs go before it"},
        "eta_s": {"type": ["number", "null"], "description": "About how long until it is sent"},
        "response": {"type": ["object", "null"], "description": "The ChatCompletion; null unless completed"},
        "error": {"oneOf": [_ERROR, {"type": "null"}]},
        "client": _MAYBE_TEXT,
        "source": _MAYBE_TEXT,
        "metadata": {"type": "object"},
        "worker": _MAYBE_TEXT,
        "cost_usd": _MAYBE_NUMBER,
        "cost_unknown": {
            "type": "integer",
            "description": "Calls that may be billed and whose cost nobody knows",
        },
    },
}

ACCEPTED_JOB = {
    "type": "object",
    "required": ["id", "object", "status"],
    "properties": {"id": _TEXT, "object": {"const": "job"}, "status": STATUS},
}

JOB_LIST = {
    "type": "object",
    "required": ["object", "data", "first_id", "last_id", "has_more"],
    "properties": {
        "object": {"const": "list"},
        "data": {"type": "array", "items": {"$ref": "#/components/schemas/Job"}},
        "first_id": _MAYBE_TEXT,
        "last_id": {"type": ["string", "null"], "description": "Go on with `after` this one"},
        "has_more": {"type": "boolean"},
        "missing": {
            "type": "array",
            "items": _TEXT,
            "description": "Of `ids`: those that are no job of the caller's",
        },
    },
}

SCHEMAS = {"Job": JOB, "AcceptedJob": ACCEPTED_JOB, "JobList": JOB_LIST}
