"""Plain answers, catalogues and refusals have the shapes of docs/provider-wire.md."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.simulator.calls import PATHS, WIRES, answer_text, chat, error_text, key_headers, usage
from tests.simulator.conftest import StartSimulator

OLLAMA_COUNTERS = {
    "total_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
}


@pytest.mark.parametrize(("wire", "field"), [("ollama", "message"), ("ollama_generate", "response")])
async def test_ollama_answer_has_wire_shape(
    start: StartSimulator, client: httpx.AsyncClient, wire: str, field: str
) -> None:
    """Counters that are zero (load_duration) are left out, as Go does."""
    simulator = await start(latency=0.001)
    data = (await chat(client, simulator.url, wire)).json()
    assert set(data) == {"model", "created_at", field, "done", "done_reason"} | OLLAMA_COUNTERS
    assert (data["done"], data["done_reason"]) == (True, "stop")


async def test_ollama_durations_are_nanoseconds(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """The total covers the latency and is the sum of its parts."""
    simulator = await start(latency=0.02)
    data = (await chat(client, simulator.url, "ollama")).json()
    assert 19_000_000 < data["total_duration"] < 5_000_000_000
    assert data["prompt_eval_duration"] + data["eval_duration"] == data["total_duration"]


async def test_openai_answer_has_wire_shape(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """A ChatCompletion with one choice and consistent usage."""
    simulator = await start()
    data = (await chat(client, simulator.url, "openai")).json()
    assert (data["object"], data["model"]) == ("chat.completion", "m")
    assert (data["choices"][0]["index"], data["choices"][0]["finish_reason"]) == (0, "stop")
    assert data["choices"][0]["message"]["role"] == "assistant"
    usage = data["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


@pytest.mark.parametrize(
    ("wire", "cap"),
    [
        ("ollama", {"options": {"num_predict": 3}}),
        ("ollama_generate", {"options": {"num_predict": 3}}),
        ("openai", {"max_tokens": 3}),
        ("openai", {"max_completion_tokens": 3, "max_tokens": 9}),
    ],
)
async def test_cap_cuts_answer_and_says_length(
    start: StartSimulator, client: httpx.AsyncClient, wire: str, cap: dict[str, Any]
) -> None:
    """Output words, output tokens and finish reason follow the request's cap."""
    simulator = await start(output_tokens=10)
    data = (await chat(client, simulator.url, wire, **cap)).json()
    assert len(answer_text(wire, data).split()) == 2 + 3
    reason = data["choices"][0]["finish_reason"] if wire == "openai" else data["done_reason"]
    tokens = data["usage"]["completion_tokens"] if wire == "openai" else data["eval_count"]
    assert (reason, tokens) == ("length", 3)


@pytest.mark.parametrize("wire", WIRES)
async def test_prompt_tokens_are_quarter_of_characters(
    start: StartSimulator, client: httpx.AsyncClient, wire: str
) -> None:
    """Both texts count."""
    simulator = await start()
    data = (await chat(client, simulator.url, wire, system="s" * 200, user="u" * 200)).json()
    assert usage(wire, data)[0] == 100


@pytest.mark.parametrize("path", ["/openrouter/api/v1/chat/completions", "/v1/chat/completions?beta=1"])
async def test_openai_answers_under_any_prefix(
    start: StartSimulator, client: httpx.AsyncClient, path: str
) -> None:
    """A base URL with a prefix works, and the log names the path."""
    simulator = await start()
    request = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    response = await client.post(simulator.url + path, json=request)
    assert response.status_code == 200
    assert simulator.calls[0].path == path.partition("?")[0]


async def test_catalogues_list_known_models(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """Ollama's tags and OpenAI's list name the same models."""
    url = (await start(models=("a", "b:1"))).url
    tags = (await client.get(f"{url}/api/tags")).json()["models"]
    models = (await client.get(f"{url}/v1/models")).json()
    assert [tag["name"] for tag in tags] == [model["id"] for model in models["data"]] == ["a", "b:1"]
    assert models["object"] == "list"


async def test_health_pages_look_like_ollama(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """`/` and `/api/version` are what health checks ask for."""
    url = (await start()).url
    assert (await client.get(f"{url}/")).text == "Ollama is running"
    assert "version" in (await client.get(f"{url}/api/version")).json()
    assert (await client.get(f"{url}/nowhere")).status_code == 404


@pytest.mark.parametrize("wire", WIRES)
async def test_unknown_model_is_404(start: StartSimulator, client: httpx.AsyncClient, wire: str) -> None:
    """A model outside the list is refused in the wire's shape."""
    simulator = await start(models=("a",))
    response = await chat(client, simulator.url, wire, model="x")
    assert response.status_code == 404
    error = response.json()["error"]
    match wire:
        case "openai" | "responses":
            assert error["code"] == "model_not_found"
        case "anthropic":
            assert error == {"type": "not_found_error", "message": "model: x"}
        case "gemini":
            assert (error["code"], error["status"]) == (404, "NOT_FOUND")
        case _:
            assert error == 'model "x" not found'


REFUSED_KEYS = {"gemini": (403, 400)}
"""Statuses of a missing and of a wrong key, where they are not 401."""


@pytest.mark.parametrize("wire", WIRES)
async def test_missing_and_wrong_keys_are_refused(
    start: StartSimulator, client: httpx.AsyncClient, wire: str
) -> None:
    """In the wire's shape and with its status."""
    simulator = await start(key="right")
    missing = await chat(client, simulator.url, wire)
    wrong = await chat(client, simulator.url, wire, headers=key_headers(wire, "wrong"))
    assert (missing.status_code, wrong.status_code) == REFUSED_KEYS.get(wire, (401, 401))
    assert error_text(wire, missing) and error_text(wire, wrong)
    assert [record.status for record in simulator.calls] == [missing.status_code, wrong.status_code]


@pytest.mark.parametrize("wire", WIRES)
async def test_right_key_is_accepted(start: StartSimulator, client: httpx.AsyncClient, wire: str) -> None:
    """The configured key opens every wire, where that wire carries it."""
    simulator = await start(key="right")
    response = await chat(client, simulator.url, wire, headers=key_headers(wire, "right"))
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("wire", "content"),
    [
        ("openai", b"{"),
        ("openai", b"[]"),
        ("openai", b'{"messages":[{"role":"user","content":"x"}]}'),
        ("openai", b'{"model":"m","messages":[]}'),
        ("openai", b'{"model":"m","messages":[{"role":"user"}],"max_tokens":0}'),
        ("ollama", b"not json"),
        ("ollama", b'{"messages":[]}'),
        ("ollama", b'{"model":"m","messages":["x"]}'),
        ("ollama", b'{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"x"}]}]}'),
        ("ollama", b'{"model":"m","options":{"stop":"x"}}'),
        ("ollama_generate", b'{"model":"m","prompt":1}'),
        ("ollama_generate", b'{"model":"m","prompt":"x","options":{"num_predict":"many"}}'),
    ],
)
async def test_invalid_request_is_400(
    start: StartSimulator, client: httpx.AsyncClient, wire: str, content: bytes
) -> None:
    """A request the provider could not read is refused in the wire's shape."""
    simulator = await start()
    response = await client.post(simulator.url + PATHS[wire], content=content)
    assert response.status_code == 400
    assert error_text(wire, response)
