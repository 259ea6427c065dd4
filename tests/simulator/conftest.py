"""Simulators on loopback, in the test's own event loop, and a client for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from simulator import Simulator, SimulatorConfig

StartSimulator = Callable[..., Awaitable[Simulator]]


@pytest.fixture
async def start() -> AsyncIterator[StartSimulator]:
    """Starts simulators with given settings; they stop with the test."""
    async with AsyncExitStack() as stack:

        async def start_one(**settings: Any) -> Simulator:
            return await stack.enter_async_context(Simulator(SimulatorConfig(**settings)))

        yield start_one


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=10, trust_env=False, verify=False) as opened:
        yield opened
