"""What OpenAI's client does about failures: never more calls than chatq's attempts (openai-wire §2, §12: 9, 10)."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.clients.served import Served

from .batches import line, upload

ASK: list[Any] = [{"role": "user", "content": "hi"}]

ATTEMPTS = 3
"""chatq's default for a job."""


@pytest.fixture
def eager(served: Served) -> Iterator[openai.OpenAI]:
    """As people have it: two retries of its own."""
    with openai.OpenAI(base_url=served.base_url, api_key="any", timeout=30) as opened:
        yield opened


ROWS = [
    ("500", 502, ATTEMPTS),
    ("503", 502, ATTEMPTS),
    ("reset", 502, ATTEMPTS),
    ("nonsense", 400, 1),
    ("404-model", 404, 1),
    ("bad-key", 502, 1),
    ("402", 502, 1),
    ("429-quota", 502, 1),
]
"""Fault of the provider, status of the answer, calls to the provider."""


@pytest.mark.parametrize(("fault", "status", "calls"), ROWS)
def test_final_failure_is_asked_once(
    eager: openai.OpenAI, served: Served, fault: str, status: int, calls: int
) -> None:
    """chatq has retried; the client does not multiply that."""
    text = f"{fault} {uuid.uuid4()}"
    began_at = time.monotonic()
    before = len(served.upstream.calls(f"sim-fault-{fault}"))
    with pytest.raises(openai.APIStatusError) as caught:
        eager.chat.completions.create(
            model=f"openrouter/sim-fault-{fault}", messages=[{"role": "user", "content": text}]
        )
    assert caught.value.status_code == status
    assert caught.value.request_id
    assert len(served.upstream.calls(f"sim-fault-{fault}")) - before == calls
    assert time.monotonic() - began_at < 5


@pytest.mark.parametrize("fault", ["500-first-2", "429-first-2", "reset-first-1"])
def test_passing_failure_is_not_seen(eager: openai.OpenAI, fault: str) -> None:
    """A wait instead of an error."""
    text = f"{fault} {uuid.uuid4()}"
    answer = eager.chat.completions.create(
        model=f"openai/sim-fault-{fault}", messages=[{"role": "user", "content": text}]
    )
    assert (answer.choices[0].message.content or "").startswith("echo ")


def test_same_key_and_body_are_one_call(client: openai.OpenAI, served: Served) -> None:
    """`Idempotency-Key`: the same object again."""
    key = {"Idempotency-Key": str(uuid.uuid4())}
    answers = [
        client.chat.completions.create(model="idempotent", messages=ASK, extra_headers=key) for _ in range(2)
    ]
    assert answers[0] == answers[1]
    assert len(served.upstream.calls("idempotent")) == 1


def test_same_key_and_another_body_is_a_final_conflict(eager: openai.OpenAI) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    eager.chat.completions.create(model="conflict", messages=ASK, extra_headers=key)
    began_at = time.monotonic()
    with pytest.raises(openai.ConflictError) as caught:
        eager.chat.completions.create(model="another", messages=ASK, extra_headers=key)
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert time.monotonic() - began_at < 0.4, "the client must not have slept and asked again"


def test_same_key_makes_one_object_of_every_kind(client: openai.OpenAI) -> None:
    """Jobs, batches and responses."""
    key = {"Idempotency-Key": str(uuid.uuid4())}
    responses = [
        client.responses.create(model="twice", input="hi", background=True, extra_headers=key).id
        for _ in range(2)
    ]
    assert responses[0] == responses[1]
    file_id = upload(client, [line("1", "m")])
    batches = [
        client.batches.create(
            input_file_id=file_id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            extra_headers=key,
        ).id
        for _ in range(2)
    ]
    assert batches[0] == batches[1]
    with pytest.raises(openai.ConflictError) as caught:
        client.batches.create(
            input_file_id=file_id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata={"another": "body"},
            extra_headers=key,
        )
    assert caught.value.response.headers["x-should-retry"] == "false"


def test_no_answer_tells_to_wait_longer_than_clients_bear(client: openai.OpenAI, served: Served) -> None:
    """Over 120 s the client would give up at once; and a success never says that nothing remains."""
    answer = client.chat.completions.with_raw_response.create(model="headers", messages=ASK)
    remaining = {k: v for k, v in answer.headers.items() if k.lower().startswith("x-ratelimit-remaining")}
    assert "0" not in remaining.values()
    probe = httpx.post(f"{served.base_url}/chat/completions", json={"model": "m", "messages": []})
    assert probe.status_code == 400
    assert {"x-ratelimit-limit-requests", "x-ratelimit-limit-tokens"} <= probe.headers.keys()
