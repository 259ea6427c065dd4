from __future__ import annotations

import asyncio
import math
import time
from datetime import datetime
from typing import Any

import httpx
import pytest

from simulator import LimitSettings
from simulator.limits import AccountLimits, Shortage, admit
from simulator.windows import charged_tokens, one_request, peak_overlap, peak_window
from tests.simulator.calls import OPENAI_HEADERS, chat, error_text
from tests.simulator.conftest import StartSimulator
from tests.support import wait_until


def limits(models: dict[str, LimitSettings] | None = None, **account: int) -> AccountLimits:
    made = AccountLimits()
    made.set(LimitSettings(**account), models or {}, 60, 0.0)
    return made


def ask(limits: AccountLimits, tokens: int = 1, model: str = "m", now_s: float = 0.0) -> Shortage | None:
    """Charge one call, or say what is short."""
    return admit(limits.scopes(model), tokens, now_s)


def test_refused_call_is_charged_nothing() -> None:
    """A call short of tokens does not use up a request."""
    both = limits(rpm=2, tpm=100)
    assert ask(both, 90) is None
    shortage = ask(both, 20)
    assert shortage is not None and (shortage.kind, shortage.used) == ("tokens", 90)
    assert shortage.wait_s == pytest.approx(6.0)
    assert ask(both, 5) is None


def test_longest_wait_is_stated() -> None:
    """Waiting as told must be enough for every limit that is short."""
    both = limits(rpm=2, tpm=100)
    assert ask(both, 50) is None
    assert ask(both, 50) is None
    shortage = ask(both, 100)
    assert shortage is not None and shortage.kind == "tokens"
    assert shortage.wait_s == pytest.approx(60.0)
    never = ask(both, 101)
    assert never is not None and never.wait_s is None


def test_released_slot_admits_next_call() -> None:
    """Concurrency counts calls that are not over."""
    single = limits(concurrency=1)
    assert ask(single) is None
    assert ask(single) is not None
    single.account.release()
    assert ask(single) is None


def test_unchanged_limit_keeps_its_level() -> None:
    """Changing one limit is no gift on another."""
    both = limits(rpm=1)
    assert ask(both) is None
    both.set(LimitSettings(rpm=1, tpm=100), {}, 60, 0.0)
    assert ask(both) is not None


def test_model_limit_binds_only_its_model() -> None:
    """The others have the account's limits alone."""
    some = limits({"small": LimitSettings(rpm=1)}, rpm=3)
    assert ask(some, model="small") is None
    assert ask(some, model="small") is not None
    assert ask(some, model="large") is None


def test_call_is_charged_to_account_and_model_or_to_neither() -> None:
    """What the model refuses leaves the account as it was, and the other way round."""
    some = limits({"small": LimitSettings(tpm=50)}, tpm=100)
    assert ask(some, 60, model="small") is not None
    assert ask(some, 60, model="large") is None
    assert ask(some, 50, model="small") is not None
    assert ask(some, 40, model="small") is None
    assert ask(some, 1, model="large") is not None


def test_model_slot_is_released_though_its_limit_is_gone() -> None:
    """A call gives back what it took, whatever the settings are by then."""
    some = limits({"small": LimitSettings(concurrency=1)})
    held = some.scopes("small")
    assert ask(some, model="small") is None
    some.set(LimitSettings(), {}, 60, 0.0)
    for limiter in held:
        limiter.release()
    assert [limiter.in_flight for limiter in held] == [0, 0]


@pytest.mark.parametrize("wire", OPENAI_HEADERS)
async def test_request_limit_is_429_with_headers(
    start: StartSimulator, client: httpx.AsyncClient, wire: str
) -> None:
    """Good answers count down; the refusal states the wait in every form."""
    simulator = await start(rpm=2)
    first, _, refused = [await chat(client, simulator.url, wire) for _ in range(3)]
    assert (first.status_code, first.headers["x-ratelimit-remaining-requests"]) == (200, "1")
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert (refused.status_code, refused.headers["x-ratelimit-remaining-requests"]) == (429, "0")
    assert 20 < int(refused.headers["retry-after"]) <= 30
    assert 20_000 < int(refused.headers["retry-after-ms"]) <= 30_000
    assert refused.headers["x-ratelimit-reset-requests"].endswith("s")
    assert error_text(wire, refused)


async def test_token_limit_charges_prompt_and_output(
    start: StartSimulator, client: httpx.AsyncClient
) -> None:
    """What is left shrinks by what the log says was used."""
    simulator = await start(tpm=1000, output_tokens=100)
    good = await chat(client, simulator.url, "openai", user="x" * 2000)
    refused = await chat(client, simulator.url, "openai", user="x" * 2000)
    record = simulator.calls[0]
    used = record.prompt_tokens + record.output_tokens
    assert (used, int(good.headers["x-ratelimit-remaining-tokens"])) == (600, 400)
    assert (refused.status_code, refused.json()["error"]["type"]) == (429, "tokens")


async def test_unlimited_answers_have_no_limit_headers(
    start: StartSimulator, client: httpx.AsyncClient
) -> None:
    """No limit, no header."""
    response = await chat(client, (await start()).url, "openai")
    assert not [name for name in response.headers if name.startswith("x-ratelimit")]


@pytest.mark.parametrize(
    ("wire", "status", "text"),
    [
        ("openai", 429, "concurrent requests"),
        ("responses", 429, "concurrent requests"),
        ("anthropic", 429, "rate limit of 1 concurrent connections"),
        ("gemini", 429, "generate_concurrent_requests"),
        ("ollama", 503, "server busy, please try again.  maximum pending requests exceeded"),
    ],
)
async def test_concurrency_limit_refuses_surplus(
    start: StartSimulator, client: httpx.AsyncClient, wire: str, status: int, text: str
) -> None:
    """The call beyond the limit is refused at once; a client that leaves frees its slot."""
    simulator = await start(concurrency=1)
    running = asyncio.create_task(chat(client, simulator.url, wire, model="sim-latency-60"))
    await wait_until(lambda: simulator.stats()["in_flight"] == 1)
    refused = await chat(client, simulator.url, wire)
    assert (refused.status_code, text in error_text(wire, refused)) == (status, True)
    running.cancel()
    await wait_until(lambda: simulator.stats()["in_flight"] == 0)
    assert (await chat(client, simulator.url, wire)).status_code == 200
    assert simulator.stats()["max_in_flight"] == 1


async def test_tightest_scope_is_told(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """Headers speak of the model where it has less left than the account, per kind."""
    simulator = await start(rpm=100, tpm=50, model_limits={"m": {"rpm": 5, "tpm": 5000}}, output_tokens=9)
    headers = (await chat(client, simulator.url, "openai")).headers
    assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]) == ("5", "4")
    assert (headers["x-ratelimit-limit-tokens"], headers["x-ratelimit-remaining-tokens"]) == ("50", "40")


async def test_model_concurrency_refuses_surplus(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """A full model refuses its calls only; a client that leaves frees its slot."""
    model = "sim-latency-60"
    simulator = await start(model_limits={model: {"concurrency": 1}})
    running = asyncio.create_task(chat(client, simulator.url, "openai", model=model))
    await wait_until(lambda: simulator.stats()["in_flight"] == 1)
    assert (await chat(client, simulator.url, "openai", model=model)).status_code == 429
    assert (await chat(client, simulator.url, "openai")).status_code == 200
    running.cancel()
    await wait_until(lambda: simulator.stats()["in_flight"] == 0)
    running = asyncio.create_task(chat(client, simulator.url, "openai", model=model))
    await wait_until(lambda: simulator.stats()["in_flight"] == 1)
    running.cancel()


@pytest.mark.parametrize("wire", OPENAI_HEADERS)
@pytest.mark.parametrize(
    ("style", "names"),
    [
        ("openai", {"retry-after", "retry-after-ms"}),
        ("retry-after", {"retry-after"}),
        ("none", set[str]()),
    ],
)
async def test_refusal_says_what_style_lets_out(
    start: StartSimulator, client: httpx.AsyncClient, wire: str, style: str, names: set[str]
) -> None:
    """Only OpenAI's style counts down, and speaks of the wait in words too."""
    simulator = await start(rpm=1, rate_headers=style)
    good, refused = [await chat(client, simulator.url, wire) for _ in range(2)]
    assert (good.status_code, refused.status_code) == (200, 429)
    assert {name for name in refused.headers if name.startswith("retry-after")} == names
    is_open = style == "openai"
    assert ("try again" in error_text(wire, refused)) is is_open
    for response in (good, refused):
        assert any(name.startswith("x-ratelimit") for name in response.headers) is is_open


async def test_anthropic_tells_limits_in_its_own_headers(
    start: StartSimulator, client: httpx.AsyncClient
) -> None:
    """Limit, rest and a point in time; the refusal has the wait in whole seconds only."""
    simulator = await start(rpm=2, tpm=1000)
    first, _, refused = [await chat(client, simulator.url, "anthropic") for _ in range(3)]
    start_of = "anthropic-ratelimit-requests-"
    assert (first.headers[f"{start_of}limit"], first.headers[f"{start_of}remaining"]) == ("2", "1")
    assert "anthropic-ratelimit-tokens-remaining" in first.headers
    full_at = datetime.fromisoformat(first.headers[f"{start_of}reset"])
    assert 28 < full_at.timestamp() - time.time() < 32
    assert (refused.status_code, refused.json()["error"]["type"]) == (429, "rate_limit_error")
    assert 20 < int(refused.headers["retry-after"]) <= 30
    assert not {"retry-after-ms", "x-ratelimit-limit-requests"} & set(refused.headers)


@pytest.mark.parametrize(
    ("style", "delay", "in_words"),
    [("openai", True, True), ("retry-after", True, False), ("none", False, False)],
)
async def test_gemini_tells_wait_in_body(
    start: StartSimulator, client: httpx.AsyncClient, style: str, delay: bool, in_words: bool
) -> None:
    """RetryInfo and the text, no header at all."""
    simulator = await start(rpm=1, rate_headers=style)
    _, refused = [await chat(client, simulator.url, "gemini") for _ in range(2)]
    error = refused.json()["error"]
    assert (refused.status_code, error["status"]) == (429, "RESOURCE_EXHAUSTED")
    delays = [float(detail["retryDelay"][:-1]) for detail in error["details"] if "retryDelay" in detail]
    assert (len(delays) == 1 and 50 < delays[0] <= 60) if delay else delays == []
    assert ("Please retry in" in error["message"]) is in_words
    assert not [name for name in refused.headers if "retry" in name or "ratelimit" in name]


async def test_gemini_names_the_quota(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """Metric, model and limit stand in the details."""
    simulator = await start(tpm=10)
    refused = await chat(client, simulator.url, "gemini", user="x" * 100)
    violation = refused.json()["error"]["details"][0]["violations"][0]
    assert (violation["quotaValue"], violation["quotaDimensions"]["model"]) == ("10", "m")
    assert violation["quotaMetric"].endswith("input_token_count")


@pytest.mark.parametrize(
    ("charge", "cap", "charged"),
    [
        ("actual", {}, 8),
        ("actual", {"max_tokens": 100}, 8),
        ("max", {"max_tokens": 100}, 101),
        ("max", {}, 8193),
    ],
)
async def test_charge_follows_its_rule(
    start: StartSimulator, client: httpx.AsyncClient, charge: str, cap: dict[str, Any], charged: int
) -> None:
    """What was used, or what was asked for; without a cap that is the longest answer possible."""
    simulator = await start(tpm=10_000, charge=charge, output_tokens=7)
    response = await chat(client, simulator.url, "openai", **cap)
    assert simulator.calls[0].charged_tokens == charged
    assert int(response.headers["x-ratelimit-remaining-tokens"]) == 10_000 - charged


async def test_limit_halved_live_slows_calls(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """The wait of the next refusal is twice as long, and what was used stays used."""
    simulator = await start(rpm=6, slice_s=1)
    assert (await chat(client, simulator.url, "openai")).status_code == 200
    await client.post(f"{simulator.url}/_sim/set", json={"rpm": 3})
    refused = await chat(client, simulator.url, "openai")
    assert 10_000 < int(refused.headers["retry-after-ms"]) <= 20_000


async def test_greedy_clients_stay_within_limits(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """Measured from the log: slices, tokens and slots hold against clients that never wait."""
    simulator = await start(
        rpm=600, tpm=6000, concurrency=4, slice_s=1, latency=0.002, output_tokens=9, rate_headers="none"
    )

    async def press() -> None:
        for _ in range(60):
            await chat(client, simulator.url, "openai")

    await asyncio.gather(*(press() for _ in range(8)))
    admitted = [record for record in simulator.calls if record.started_s is not None]
    assert 0 < len(admitted) < 480
    for window_s in (0.1, 1.0):
        assert peak_window(admitted, window_s, one_request) <= 10 + math.ceil(10 * window_s)
        assert peak_window(admitted, window_s, charged_tokens) <= 100 + math.ceil(100 * window_s)
    assert peak_overlap(simulator.calls) <= 4
