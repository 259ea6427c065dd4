"""What serves the calls of one API process: made at its start, shared by all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from producer.api.submits import Submits
from producer.client import Producer
from shared.background import end_tasks
from shared.providers import ProviderRegistry
from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class Services:
    """What handlers work with."""

    settings: Settings
    registry: ProviderRegistry
    producer: Producer
    submits: Submits


@asynccontextmanager
async def open_services(settings: Settings, registry: ProviderRegistry) -> AsyncIterator[Services]:
    """Connect, and start what runs beside the calls.

    Raises:
        StoreUnavailable, StoreUnsuitable, ConfigError: As `Producer.open`.
    """
    async with AsyncExitStack() as stack:
        producer = await stack.enter_async_context(Producer.open(settings, registry=registry))
        submits = Submits(producer)
        stack.push_async_callback(end_tasks, submits.start())
        yield Services(settings, registry, producer, submits)
