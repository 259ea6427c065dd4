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
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
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

EXAMPLES = 30
"""Requests for each operation, in each mode."""

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


@schemathesis.serializer("application/x-ndjson")
def lines_of(ctx: schemathesis.SerializationContext, value: Any) -> bytes:
    """Text stays as it is; anything else is a line of JSON."""
    return value.encode() if isinstance(value, str) else json.dumps(value).encode()


def no_bug_of_ours(ctx: CheckContext, response: schemathesis.Response, case: schemathesis.Case) -> None:
    """Other 5xx say what others did: a provider, the store."""
    assert response.status_code != 500, response.text


openapi = schemathesis.openapi.from_dict(
    describe(OPERATIONS, (getattr(resource, "SCHEMAS", {}) for resource in RESOURCES))
)


NAMES = [f"{found.ok().method.upper()} {found.ok().path}" for found in openapi.get_all_operations()]

MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
"""Requests as they are described, and such as are not."""

CHECKS = [
    no_bug_of_ours,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_every_answer_is_a_described_one(
    served: Served, known: Mapping[str, str], name: str, mode: GenerationMode
) -> None:
    """Half of the calls are about what exists. What has nothing that can be wrong is called as it is described."""
    method, _, path = name.partition(" ")
    operation = openapi[path][method]
    has_wrong = bool(operation.body or operation.query or operation.headers)
    wanted = mode if has_wrong else GenerationMode.POSITIVE

    @given(case=operation.as_strategy(wanted))
    @settings(
        max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def call(case: schemathesis.Case) -> None:
        kind = path.removeprefix("/v1/").partition("/")[0]
        if kind in known and "id" in case.path_parameters and len(str(case.path_parameters["id"])) % 2:
            case.path_parameters["id"] = known[kind]
        case.call_and_validate(base_url=served.url, checks=CHECKS, timeout=30)

    call()
