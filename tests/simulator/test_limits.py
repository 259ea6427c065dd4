from __future__ import annotations

import asyncio

import httpx
import pytest

from simulator.limits import Limiter, go_duration
from tests.simulator.calls import WIRES, chat, error_text
from tests.simulator.conftest import StartSimulator
from tests.support import wait_until


def limiter(*, rpm: int | None = None, tpm: int | None = None, concurrency: int | None = None) -> Limiter:
    made = Limiter()
    made.set(rpm=rpm, tpm=tpm, concurrency=concurrency, now_s=0.0)
    return made


def test_bucket_allows_burst_then_even_refill() -> None:
    """A full minute at once, then one call per refill interval."""
    requests = limiter(rpm=60)
    assert all(requests.admit(1, 0.0) is None for _ in range(60))
    shortage = requests.admit(1, 0.0)
    assert shortage is not None and shortage.wait_s == pytest.approx(1.0)
    assert requests.admit(1, 0.999) is not None
    assert requests.admit(1, 1.0) is None


def test_refused_call_is_charged_nothing() -> None:
    """A call short of tokens does not use up a request."""
    both = limiter(rpm=2, tpm=100)
    assert both.admit(90, 0.0) is None
    shortage = both.admit(20, 0.0)
    assert shortage is not None and shortage.kind == "tokens"
    assert shortage.wait_s == pytest.approx(6.0)
    assert both.admit(5, 0.0) is None


def test_call_above_token_limit_never_fits() -> None:
    """No wait is stated for what no wait can cure."""
    shortage = limiter(tpm=100).admit(101, 0.0)
    assert shortage is not None and shortage.wait_s is None


def test_released_slot_admits_next_call() -> None:
    """Concurrency counts calls that are not over."""
    single = limiter(concurrency=1)
    assert single.admit(1, 0.0) is None
    assert single.admit(1, 0.0) is not None
    single.release()
    assert single.admit(1, 0.0) is None


def test_unchanged_limit_keeps_its_level() -> None:
    """Changing one limit is no gift on another."""
    both = limiter(rpm=1)
    assert both.admit(1, 0.0) is None
    both.set(rpm=1, tpm=100, concurrency=None, now_s=0.0)
    assert both.admit(1, 0.0) is not None


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [
        (0, "0s"),
        (0.012, "12ms"),
        (1, "1s"),
        (1.5, "1.5s"),
        (360, "6m0s"),
        (3723, "1h2m3s"),
        (90.25, "1m30.25s"),
    ],
)
def test_durations_print_as_go_does(duration_s: float, text: str) -> None:
    """Reset headers are Go durations."""
    assert go_duration(duration_s) == text


@pytest.mark.parametrize("wire", WIRES)
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
