"""OpenAI's error envelope on every path (openai-wire §3, and §12: 12)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.clients.served import Served, serve


def error_of(reply: httpx.Response) -> dict[str, str | None]:
    """The error, which must have OpenAI's four keys and a request id beside it."""
    assert reply.headers["content-type"].startswith("application/json")
    assert reply.headers["x-request-id"].startswith("req_")
    error: dict[str, str | None] = reply.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"] and error["type"]
    assert "Traceback" not in error["message"]
    return error


CALLS = {
    "an unknown route": ("GET", "/nothing/here", b"", 404),
    "a wrong method": ("PUT", "/chat/completions", b"{}", 405),
    "bad JSON": ("POST", "/chat/completions", b"{", 400),
    "no object": ("POST", "/chat/completions", b"[]", 400),
    "nothing": ("POST", "/chat/completions", b"", 400),
    "no model": ("POST", "/chat/completions", b'{"messages": [{"role": "user", "content": "hi"}]}', 400),
    "no messages": ("POST", "/chat/completions", b'{"model": "m"}', 400),
    "no message": ("POST", "/chat/completions", b'{"model": "m", "messages": []}', 400),
    "a provider that is off": (
        "POST",
        "/chat/completions",
        b'{"model": "kimi/k3", "messages": [{"role": "user", "content": "hi"}]}',
        404,
    ),
    "deep JSON": ("POST", "/chat/completions", b'{"model": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", 400),
    "a large body": ("POST", "/chat/completions", b'{"model": "' + b"x" * 5_000_000 + b'"}', 413),
    "an unknown job": ("GET", "/jobs/nobody", b"", 404),
    "an unknown batch": ("GET", "/batches/batch_nobody", b"", 404),
    "an unknown file": ("GET", "/files/file-nobody", b"", 404),
    "an unknown response": ("GET", "/responses/resp_nobody", b"", 404),
    "a batch without a body": ("POST", "/batches", b"", 400),
    "a response without a model": ("POST", "/responses", b'{"input": "hi"}', 400),
    "a deleted model": ("DELETE", "/models/m", b"", 405),
}


@pytest.mark.parametrize("prefix", ["", "/v1"])
@pytest.mark.parametrize("what", CALLS)
def test_every_error_has_openais_form(served: Served, what: str, prefix: str) -> None:
    """With and without `/v1`."""
    method, path, body, status = CALLS[what]
    headers = {"content-type": "application/json"}
    reply = httpx.request(
        method, f"{served.url}{prefix}{path}", content=body or None, headers=headers, timeout=30
    )
    assert reply.status_code == status, reply.text
    error_of(reply)


@pytest.fixture(scope="module")
def locked() -> Iterator[Served]:
    """One that asks for a token."""
    with (
        tempfile.TemporaryDirectory(prefix="chatq-locked-") as folder,
        serve(Path(folder), CHATQ_AUTH__TOKEN="open-sesame-0123456789") as running,
    ):
        yield running


def test_call_without_a_token_is_refused(locked: Served) -> None:
    """401 and the envelope, whatever is asked for; the right token opens."""
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic open-sesame-0123456789"}):
        for path in ("/models", "/jobs/nobody", "/batches", "/files"):
            reply = httpx.get(f"{locked.base_url}{path}", headers=headers)
            assert reply.status_code == 401
            assert error_of(reply)["code"] == "invalid_api_key"
    with (
        openai.OpenAI(base_url=locked.base_url, api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.models.list()
    with openai.OpenAI(base_url=locked.base_url, api_key="open-sesame-0123456789") as client:
        assert list(client.models.list())
    assert "open-sesame-0123456789" not in locked.log()
