"""The job for a stock `rq worker`: one call, by the groups of the file and of chatq's Redis."""

from __future__ import annotations

import asyncio
import logging

import pytest

from producer import Producer
from shared.errors import ProviderNotFound
from simulator import Simulator
from tests.support import provider_env
from worker.tasks import chat

REQUEST = {"model": "mine", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def env(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in provider_env(simulator.url).items():
        monkeypatch.setenv(name, value)
    return monkeypatch


async def test_group_made_at_run_time_is_followed(
    env: pytest.MonkeyPatch, redis_url: str, producer: Producer, simulator: Simulator
) -> None:
    """Its name is no model's."""
    await producer.groups.set("mine", {"targets": ["openrouter/small", "ollama/large"]})
    env.setenv("CHATQ_REDIS_URL", redis_url)
    await asyncio.to_thread(chat, REQUEST)
    assert [call.model for call in simulator.calls] == ["small"]


async def test_redis_that_is_not_there_is_told_and_done_without(
    env: pytest.MonkeyPatch, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    """Groups of the file and plain names work on."""
    env.setenv("CHATQ_REDIS_URL", "redis://127.0.0.1:1")
    with caplog.at_level(logging.WARNING, logger="worker.tasks"):
        await asyncio.to_thread(chat, REQUEST | {"model": "ollama/x"})
    assert [call.model for call in simulator.calls] == ["x"]
    assert "groups made at run time are left out" in caplog.text


async def test_model_of_a_provider_that_is_off_is_refused(env: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProviderNotFound):
        await asyncio.to_thread(chat, REQUEST | {"model": "xai/x"})
