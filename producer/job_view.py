"""A job as JSON: what `--json` prints and the HTTP API answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson

from producer.job_cost import job_cost
from shared.job import Job
from shared.money import json_usd


def job_view(job: Job) -> dict[str, Any]:
    """The job's fields, its state as `status`, and what its calls have cost so far."""
    spent = job_cost(job)
    # The answer may be megabytes, and is JSON already.
    fields: dict[str, Any] = orjson.loads(orjson.dumps(replace(job, response=None)))
    return {
        "id": fields.pop("id"),
        "object": "job",
        "status": fields.pop("state"),
        **fields,
        "response": job.response,
        "cost_usd": json_usd(spent.usd),
        "cost_unknown": spent.unknown,
    }
