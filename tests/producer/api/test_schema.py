"""The OpenAPI description is true: whatever is sent, every answer is one that it describes, and none is a 500."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import CheckContext
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from producer.api.app import OPERATIONS, RESOURCES
from producer.api.openapi import describe
from tests.clients.served import Served, serve

pytestmark = pytest.mark.xdist_group("served")

EXAMPLES = 12
"""Requests for each operation, beside those that schemathesis makes for each bound of a parameter."""

REQUEST: dict[str, Any] = {"model": "openrouter/m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with tempfile.TemporaryDirectory(prefix="chatq-schema-") as folder, serve(Path(folder)) as running:
        yield running


@pytest.fixture(scope="module")
def known(served: Served) -> Mapping[str, str]:
    """Ids of what exists, by the first part of the path: most calls with an invented one end at a 404."""
    with httpx.Client(base_url=served.base_url, timeout=30) as http:
        job = http.post("/jobs", json={"request": REQUEST}).raise_for_status().json()["id"]
        http.get(f"/jobs/{job}", params={"wait": 20}).raise_for_status()
        response = http.post("/responses", json={"model": "openrouter/m", "input": "hi"}).raise_for_status()
        line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": REQUEST}
        form = {"file": ("lines.jsonl", json.dumps(line).encode())}
        file = http.post("/files", files=form, data={"purpose": "batch"}).raise_for_status().json()["id"]
        batch = http.post(
            "/batches",
            json={"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"},
        ).raise_for_status()
    return {"jobs": job, "responses": response.json()["id"], "files": file, "batches": batch.json()["id"]}


def no_bug_of_ours(ctx: CheckContext, response: schemathesis.Response, case: schemathesis.Case) -> None:
    """Other 5xx say what others did: a provider, the store."""
    assert response.status_code != 500, response.text


openapi = schemathesis.openapi.from_dict(
    describe(OPERATIONS, (getattr(resource, "SCHEMAS", {}) for resource in RESOURCES))
)


@openapi.parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_a_described_one(
    case: schemathesis.Case, served: Served, known: Mapping[str, str]
) -> None:
    """Half of the calls are about what exists."""
    kind = case.operation.path.removeprefix("/v1/").partition("/")[0]
    if kind in known and "id" in case.path_parameters and len(str(case.path_parameters["id"])) % 2:
        case.path_parameters["id"] = known[kind]
    case.call_and_validate(
        base_url=served.url,
        checks=[
            no_bug_of_ours,
            status_code_conformance,
            content_type_conformance,
            response_headers_conformance,
            response_schema_conformance,
        ],
        timeout=30,
    )
