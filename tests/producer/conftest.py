"""Fixtures for tests of the producer's side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.producer.receiver import Receiver


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver that says 200 until it is told something else."""
    running = Receiver([])
    running.answer(200)
    running.held.set()
    server = await asyncio.start_server(running.serve, "127.0.0.1", 0)
    running.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook?key=hidden"
    yield running
    running.held.set()
    server.close()
