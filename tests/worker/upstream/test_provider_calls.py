"""Every provider as it is: what it is sent, and what its answers become (docs/provider-wire.md §1-§13).

The built-in ones, and a llama-swap in front of llama.cpp, which is a provider by its settings alone.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from shared.errors import CandidateUnfit
from shared.providers import ProviderRegistry
from shared.settings import BUILTIN_PROVIDERS, Settings
from tests.worker.upstream.loopback import chat_request
from worker.upstream import Answer, open_upstream

FIXTURES = Path(__file__).parents[1] / "fixtures" / "calls"
KEYS = {name: name for spec in BUILTIN_PROVIDERS.values() for name in spec.get("key_env", "").split()}
"""Each key is the name of its variable."""

CONFIGURED = tomllib.loads("""
[providers.llama_swap]
base_url = "http://10.0.0.1:8080/v1"
timeout_s = 900  # the first call blocks while its model starts
quirks = ["think_as_template"]
""")["providers"]
"""Providers as a user writes them."""

CASES = {
    "plain", "JSON mode", "tools", "image", "thinking off", "thinking high", "usage", "stream"
}  # fmt: skip
"""What is recorded of each provider."""


@cache
def recorded() -> dict[str, tuple[str, dict[str, Any]]]:
    cases: dict[str, tuple[str, dict[str, Any]]] = {}
    for path in sorted(FIXTURES.glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            case = orjson.loads(line)
            cases[f"{path.stem}: {case['case']}"] = (path.stem, case)
    return cases


def reply_of(case: dict[str, Any]) -> httpx.Response:
    """The recorded answer: an object, or a stream as text."""
    if "stream" not in case:
        return httpx.Response(200, json=case["reply"])
    is_sse = case["stream"].startswith((":", "data:", "event:"))
    content_type = "text/event-stream" if is_sse else "application/x-ndjson"
    return httpx.Response(200, content=case["stream"].encode(), headers={"content-type": content_type})


async def called(provider_name: str, case: dict[str, Any]) -> tuple[Answer, httpx.Request]:
    """Make the recorded call with the provider's entry; streams are asked for where one is recorded."""
    requests: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return reply_of(case)

    stream = {"stream": True} if "stream" in case else {}
    entry = {"key_file": "", **CONFIGURED.get(provider_name, {}), **stream}
    settings = Settings.model_validate({"providers": {provider_name: entry}})
    provider = ProviderRegistry.from_settings(settings, env=KEYS).get(provider_name)
    upstream = open_upstream(provider, max_answer_bytes=1 << 20, transport=httpx.MockTransport(handler))
    request = chat_request(**case["request"])
    answer = await upstream.call(request, case["model"], headers={"X-Chatq-Job": "job-7"}, timeout_s=5)
    await upstream.close()
    return answer, requests[0]


@pytest.mark.parametrize("name", [name for name, (_, case) in recorded().items() if "refused" not in case])
async def test_recorded_call(name: str) -> None:
    """Address, key header and body are the provider's; message, finish and usage are OpenAI's and chatq's."""
    provider, case = recorded()[name]
    answer, request = await called(provider, case)
    assert (str(request.url), orjson.loads(request.content)) == (case["url"], case["sent"])
    assert {name: request.headers.get(name) for name in case["headers"]} == case["headers"]
    choice = answer.response["choices"][0]
    assert (choice["message"], answer.finish_reason) == (case["message"], case["finish"])
    assert {name: value for name, value in answer.usage.items() if value is not None} == case["usage"]


@pytest.mark.parametrize("name", [name for name, (_, case) in recorded().items() if "refused" in case])
async def test_recorded_refusal(name: str) -> None:
    """What a wire cannot say is never sent."""
    provider, case = recorded()[name]
    with pytest.raises(CandidateUnfit, match=case["refused"]):
        await called(provider, case)


def test_every_provider_is_recorded() -> None:
    """Each with every case, and some with more."""
    cases = {(provider, case["case"]) for provider, case in recorded().values()}
    assert cases >= {(provider, case) for provider in [*BUILTIN_PROVIDERS, *CONFIGURED] for case in CASES}
