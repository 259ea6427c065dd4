"""What Anthropic's own client does not send, or hides: versions, refusals, defaults of newer models."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from simulator import text_digest
from tests.simulator.calls import answer_text, body, chat
from tests.simulator.conftest import StartSimulator

OLD, NEW = {"anthropic-version": "2023-06-01"}, {"anthropic-version": "2026-10-21"}
USE = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"}


def turns(*contents: Any) -> dict[str, Any]:
    """Messages by turns of user and assistant."""
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[n % 2], "content": content} for n, content in enumerate(contents)]}


@pytest.mark.parametrize("headers", [{}, {"anthropic-version": "2024-01-01"}])
async def test_version_has_to_be_known(
    start: StartSimulator, client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    url = f"{(await start()).url}/v1/messages"
    response = await client.post(url, json=body("anthropic"), headers=headers)
    assert response.status_code == 400
    assert "anthropic-version" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("model", "headers", "status"),
    [
        ("m", OLD, 200),
        ("m", NEW, 400),
        ("claude-opus-4-6", OLD, 200),
        ("claude-opus-4-20250514", OLD, 200),
        ("claude-opus-4-7", OLD, 400),
        ("anthropic/claude-sonnet-5", OLD, 400),
        ("claude-3-5-sonnet-20241022", OLD, 200),
    ],
)
@pytest.mark.parametrize("field", ["temperature", "top_p", "top_k"])
async def test_sampling_is_refused_by_version_and_model(
    start: StartSimulator,
    client: httpx.AsyncClient,
    model: str,
    headers: dict[str, str],
    status: int,
    field: str,
) -> None:
    """Even at its default."""
    response = await chat(
        client, (await start()).url, "anthropic", model=model, headers=headers, **{field: 1}
    )
    assert response.status_code == status
    if status == 400:
        assert f"`{field}` is deprecated" in response.json()["error"]["message"]


INVALID: list[tuple[dict[str, Any], str]] = [
    ({"max_tokens": None}, "max_tokens: Field required"),
    ({"max_tokens": 0}, "max_tokens: Input should be"),
    ({"response_format": {"type": "json_object"}}, "response_format: Extra inputs are not permitted"),
    ({"messages": []}, "at least one message"),
    (turns(""), "non-empty"),
    (turns([]), "non-empty content"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
    (turns([{"type": "image_url"}]), "does not match any of the expected tags"),
    (turns([{"type": "text", "text": "x", "name": "y"}]), "messages.0.content.0.text.name: Extra inputs"),
    (
        turns([{"type": "image", "source": {"type": "base64", "media_type": "image/bmp", "data": "aGk="}}]),
        "image/jpeg",
    ),
    (
        turns([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "?"}}]),
        "base64",
    ),
    (turns("x", [{**USE, "id": "a:b"}]), "should match pattern"),
    (turns([RESULT]), "unexpected `tool_use_id`"),
    (turns("x", [USE], "y"), "without `tool_result` blocks"),
    ({"tools": [{"name": "a b", "input_schema": {"type": "object"}}]}, "tools.0.custom.name"),
    ({"tools": [{"name": "f", "parameters": {}}]}, "input_schema"),
    ({"tool_choice": "auto"}, "tool_choice"),
    ({"tool_choice": {"type": "any"}}, "no tool"),
    ({"thinking": {"type": "enabled", "budget_tokens": 10}}, "1024"),
    ({"thinking": {"type": "enabled", "budget_tokens": 9000}}, "must be greater than"),
    ({"thinking": True}, "thinking"),
    ({"output_config": {"format": {"type": "json_object"}}}, "json_schema"),
    ({"output_config": {"effort": "extreme"}}, "output_config.effort"),
    ({"output_config": {"speed": 1}}, "Extra inputs"),
    ({"system": 3}, "system"),
]


@pytest.mark.parametrize(("fields", "text"), INVALID)
async def test_wrong_request_is_refused(
    start: StartSimulator, client: httpx.AsyncClient, fields: dict[str, Any], text: str
) -> None:
    """400 in Anthropic's shape, with the field in front."""
    response = await chat(client, (await start()).url, "anthropic", **fields)
    error = response.json()["error"]
    assert (response.status_code, error["type"]) == (400, "invalid_request_error")
    assert text in error["message"]


async def test_budget_is_refused_by_newer_models(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """They take adaptive thinking instead."""
    thinking = {"type": "enabled", "budget_tokens": 1024}
    url = (await start()).url
    response = await chat(client, url, "anthropic", model="claude-opus-4-7", thinking=thinking)
    assert (response.status_code, "adaptive" in response.text) == (400, True)


@pytest.mark.parametrize(
    ("fields", "kinds"), [({}, ["thinking", "text"]), ({"thinking": {"type": "disabled"}}, ["text"])]
)
async def test_generation_5_thinks_unless_told_not_to(
    start: StartSimulator, client: httpx.AsyncClient, fields: dict[str, Any], kinds: list[str]
) -> None:
    """So the first block of an answer need not be text."""
    data = (await chat(client, (await start()).url, "anthropic", model="claude-sonnet-5", **fields)).json()
    assert [block["type"] for block in data["content"]] == kinds


@pytest.mark.parametrize(
    ("model", "kind", "effort", "status"),
    [
        ("claude-sonnet-5-5", "between_tools", None, 200),
        ("claude-sonnet-5-5", "between_tools", "high", 200),
        ("claude-sonnet-5-5", "between_tools", "max", 400),
        ("claude-sonnet-5-5", "disabled", None, 400),
        ("anthropic/claude-sonnet-6", "between_tools", None, 200),
        ("claude-sonnet-5", "between_tools", None, 400),
        ("claude-opus-5-5", "between_tools", None, 400),
        ("m", "between_tools", None, 400),
    ],
)
async def test_sonnet_is_silenced_between_tools(
    start: StartSimulator,
    client: httpx.AsyncClient,
    model: str,
    kind: str,
    effort: str | None,
    status: int,
) -> None:
    """From 5.5 on it takes this in place of `disabled`, up to high effort; then it does not think."""
    fields = {"thinking": {"type": kind}, **({"output_config": {"effort": effort}} if effort else {})}
    response = await chat(client, (await start()).url, "anthropic", model=model, **fields)
    assert response.status_code == status
    if status == 200:
        assert [block["type"] for block in response.json()["content"]] == ["text"]
    else:
        assert "thinking" in response.json()["error"]["message"]


async def test_bearer_opens_unless_x_api_key_is_wrong(
    start: StartSimulator, client: httpx.AsyncClient
) -> None:
    """`x-api-key` wins where both are sent."""
    url = (await start(key="right")).url
    bearer = {"authorization": "Bearer right"}
    assert (await chat(client, url, "anthropic", headers=bearer)).status_code == 200
    both = await chat(client, url, "anthropic", headers={**bearer, "x-api-key": "wrong"})
    assert both.status_code == 401


async def test_tool_result_is_a_turn_of_its_own(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """So the digest is that of the same conversation on OpenAI's wire."""
    texts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    response = await chat(client, (await start()).url, "anthropic", **turns("hi", [USE], [RESULT, *texts]))
    digest = text_digest("m", "", "hi\n\n\n\nsunny\n\na\nb")
    assert answer_text("anthropic", response.json()).startswith(f"echo {digest}")


async def test_used_up_quota_is_told_by_its_code(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """The month's spend limit looks like a rate limit until its code is read."""
    response = await chat(client, (await start()).url, "anthropic", model="sim-fault-429-quota")
    assert response.json()["error"]["details"]["error_code"] == "enforced_spend_limit_reached"
    assert "retry-after" not in response.headers


async def test_count_needs_no_cap(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """And takes none; an image counts."""
    url = f"{(await start(models=('m',))).url}/v1/messages/count_tokens"
    image = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
    request = {"model": "m", **turns([image, {"type": "text", "text": "x" * 400}])}
    assert (await client.post(url, json=request, headers=OLD)).json() == {"input_tokens": 358}
    capped = await client.post(url, json={**request, "max_tokens": 3}, headers=OLD)
    unknown = await client.post(url, json={**request, "model": "x"}, headers=OLD)
    assert (capped.status_code, unknown.status_code) == (400, 404)


async def test_models_answer_in_the_shape_of_the_caller(
    start: StartSimulator, client: httpx.AsyncClient
) -> None:
    """One path serves three wires, told apart by the caller's headers."""
    url = f"{(await start(models=('a',))).url}/v1/models"
    anthropic = (await client.get(url, headers=OLD)).json()
    assert (anthropic["data"][0]["type"], anthropic["has_more"]) == ("model", False)
    assert (await client.get(url)).json()["object"] == "list"
    assert "models" in (await client.get(url, headers={"x-goog-api-key": "k"})).json()
