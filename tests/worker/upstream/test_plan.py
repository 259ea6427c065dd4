"""Call plans: which wire, path, headers and quirks a model has at its provider."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from shared.providers import Provider, ProviderRegistry
from shared.settings import Settings
from tests.worker.upstream.loopback import GOOD, chat_request
from worker.upstream import open_upstream
from worker.upstream.plan import MAX_PLANS, Plan, Plans

KEYS = {
    "OPENAI_API_KEY": "k-openai",
    "OPENCODE_API_KEY": "k-opencode",
    "MOONSHOT_API_KEY": "k-moonshot",
    "GEMINI_API_KEY": "k-gemini",
    "ANTHROPIC_API_KEY": "k-anthropic",
    "XAI_API_KEY": "k-xai",
}


def registered(name: str, **changes: Any) -> Provider:
    settings = Settings.model_validate({"providers": {name: {"key_file": "", **changes}}})
    return ProviderRegistry.from_settings(settings, env=KEYS).get(name)


def plan_of(name: str, model: str, **changes: Any) -> Plan:
    return Plans(registered(name, **changes)).of(model)


ADDRESSES = [
    ("openai", "gpt-4o", "https://api.openai.com/v1/chat/completions"),
    ("openai", "gpt-5.6-mini", "https://api.openai.com/v1/responses"),
    ("opencode", "glm-5.3", "https://opencode.ai/zen/v1/chat/completions"),
    ("opencode", "Claude-Opus-4-7", "https://opencode.ai/zen/v1/messages"),
    ("opencode", "qwen3.7-max", "https://opencode.ai/zen/v1/messages"),
    ("opencode", "gpt-5.4", "https://opencode.ai/zen/v1/responses"),
    ("opencode", "grok-4.3", "https://opencode.ai/zen/v1/responses"),
    ("opencode", "gemini-3-flash", "https://opencode.ai/zen/v1/models/gemini-3-flash:generateContent"),
    (
        "gemini",
        "gemini-3-flash",
        "https://generativelanguage.googleapis.com/v1beta/models/gemini-3-flash:streamGenerateContent?alt=sse",
    ),
    ("anthropic", "claude-opus-4-7", "https://api.anthropic.com/v1/messages"),
]


@pytest.mark.parametrize(("provider", "model", "url"), ADDRESSES)
def test_model_is_called_on_its_own_wire(provider: str, model: str, url: str) -> None:
    """Built in for the vendors' families, whatever their names' case (provider-wire.md §4, §7)."""
    assert str(plan_of(provider, model).endpoint.url) == url


AUTH = [
    ("openai", "gpt-4o", {"authorization": "Bearer k-openai"}),
    ("gemini", "gemini-3-flash", {"x-goog-api-key": "k-gemini"}),
    ("anthropic", "claude-opus-4-7", {"x-api-key": "k-anthropic", "anthropic-version": "2023-06-01"}),
    (
        "opencode",
        "claude-opus-4-7",
        {"authorization": "Bearer k-opencode", "anthropic-version": "2023-06-01"},
    ),
    ("opencode", "gemini-3-flash", {"authorization": "Bearer k-opencode"}),
]


@pytest.mark.parametrize(("provider", "model", "auth"), AUTH)
def test_key_stands_in_one_header(provider: str, model: str, auth: dict[str, str]) -> None:
    """The wire's own, or the one that the provider has for all of its wires."""
    headers = {
        name.decode().lower(): value.decode() for name, value in plan_of(provider, model).endpoint.headers
    }
    names = {"authorization", "x-goog-api-key", "x-api-key", "anthropic-version"}
    assert {name: value for name, value in headers.items() if name in names} == auth


def test_settings_override_the_builtin_wire() -> None:
    """Families move between wires, and then the settings file says so; the rest of the entry stands."""
    models = {"claude-*": {"wire": "openai", "base_url_path": "/new"}, "hy-2": {"wire": "responses"}}
    urls = [
        str(plan_of("opencode", model, models=models).endpoint.url).removeprefix("https://opencode.ai/zen/v1")
        for model in ("claude-9", "hy-2", "hy-3", "gpt-9")
    ]
    assert urls == ["/new/chat/completions", "/responses", "/chat/completions", "/responses"]


def test_longest_pattern_and_the_exact_name_win() -> None:
    """Of several that name a wire; the quirks of all of them count, in the order from general to special."""
    models = {
        "*": {"base_url_path": "/openai/v1", "quirks": ["no_seed"]},
        "a-*": {"wire": "anthropic", "base_url_path": "/anthropic/v1", "quirks": ["no_stop"]},
        "a-b": {"wire": "gemini", "base_url_path": "/google/v1beta"},
        "a[1]": {"wire": "ollama"},
    }
    urls = [
        str(plan_of("lab", model, base_url="http://lab", models=models).endpoint.url)
        for model in ("x", "a-x", "a-b", "a[1]", "a1")
    ]
    assert urls == [
        "http://lab/openai/v1/chat/completions",
        "http://lab/anthropic/v1/messages",
        "http://lab/google/v1beta/models/a-b:generateContent",
        "http://lab/openai/v1/api/chat",
        "http://lab/openai/v1/chat/completions",
    ]


def test_quirks_of_provider_and_pattern_add_up() -> None:
    """Listed twice, one is applied once; those of other wires are not there at all."""
    changes = {"quirks": ["no_seed", "json_word"], "models": {"m*": {"quirks": ["no_stop", "no_seed"]}}}
    lab = {"base_url": "http://lab", **changes}
    plain, special = plan_of("lab", "x", **lab), plan_of("lab", "m1", **lab)
    assert (len(plain.body), len(special.body), len(special.request)) == (1, 2, 1)
    assert plan_of("lab", "m1", **lab, wire="ollama").body == ()


def test_model_name_cannot_leave_its_place_in_the_path() -> None:
    """It comes from jobs."""
    url = plan_of("lab", "../x?y#z", base_url="http://lab", wire="gemini").endpoint.url
    assert url.raw_path == b"/models/..%2Fx%3Fy%23z:generateContent"


def test_plans_are_made_once_and_bounded() -> None:
    """Model names come from jobs, so there may be any number."""
    plans = Plans(registered("openai"))
    first = plans.of("m0")
    assert plans.of("m0") is first
    for number in range(MAX_PLANS + 1):
        plans.of(f"m{number}")
    assert plans.of("m0") is not first


async def test_models_of_one_provider_share_its_connections() -> None:
    """One client, whatever wires they are on."""
    paths = []

    def handler(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        answer = {"content": [{"type": "text", "text": "x"}], "stop_reason": "end_turn", "usage": {}}
        return httpx.Response(200, json=GOOD if request.url.path.endswith("completions") else answer)

    provider = registered("opencode")
    transport = httpx.MockTransport(handler)
    upstream = open_upstream(provider, max_answer_bytes=1 << 20, transport=transport)
    for model in ("glm-5.3", "claude-9"):
        await upstream.call(chat_request(max_tokens=5), model, headers={}, timeout_s=5)
    await upstream.close()
    assert paths == ["/zen/v1/chat/completions", "/zen/v1/messages"]
