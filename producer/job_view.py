"""A job as JSON: what `--json` prints and the HTTP API answers."""

from __future__ import annotations

from typing import Any

import orjson

from producer.job_cost import job_cost
from shared.job import Job
from shared.money import json_usd


def job_view(job: Job) -> dict[str, Any]:
    """The job's fields, and what its calls have cost so far."""
    spent = job_cost(job)
    fields: dict[str, Any] = orjson.loads(orjson.dumps(job))
    return {"object": "job", **fields, "cost_usd": json_usd(spent.usd), "cost_unknown": spent.unknown}
