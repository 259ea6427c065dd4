"""Deliverers in this process, and objects that have ended."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from producer.webhooks.attempt import Attempts
from producer.webhooks.deliverer import Deliverer
from producer.webhooks.event import Describe, Notice
from producer.webhooks.sender import Sender
from shared.background import end_tasks
from shared.settings import WebhookSettings
from shared.store.connect import Store
from shared.store.webhooks import Delivery, DeliveryState, WebhookOutbox
from tests.producer.receiver import webhook_settings


@dataclass
class Told:
    """Objects that have ended, by id: what the describer of `batch` says."""

    notices: dict[str, Notice | Exception] = field(default_factory=dict)

    async def describe(self, object_id: str) -> Notice | None:
        notice = self.notices.get(object_id)
        if isinstance(notice, Exception):
            raise notice
        return notice

    def end(self, object_id: str, url: str, *, state: str = "completed", at: float = 1_700_000_000.5) -> None:
        self.notices[object_id] = Notice(url, f"batch.{state}", at, {"id": object_id}, "alice")


@dataclass
class Office:
    """An outbox, its objects, and deliverers."""

    store: Store
    settings: WebhookSettings
    objects: Told = field(default_factory=Told)

    def __post_init__(self) -> None:
        self.outbox = WebhookOutbox(self.store)

    @asynccontextmanager
    async def deliverer(
        self, sender: Sender | None = None, **describers: Describe
    ) -> AsyncIterator[asyncio.Task[None]]:
        """One that runs, as in a process of its own; it looks often, so that tests are short."""
        async with sender or Sender(self.settings) as used:
            attempts = Attempts(
                {"batch": self.objects.describe, **describers}, used, self.settings, rng=random.Random(1)
            )
            deliverer = Deliverer(WebhookOutbox(self.store), attempts, self.settings, poll_s=0.02)
            running = asyncio.create_task(deliverer.run())
            try:
                yield running
            finally:
                await end_tasks(running)

    async def add(self, object_id: str, url: str, **fields: Any) -> str:
        """Have the end of a batch told; returns its ref."""
        self.objects.end(object_id, url, **fields)
        await self.mark(f"batch:{object_id}")
        return f"batch:{object_id}"

    async def mark(self, ref: str) -> None:
        """What the script does that ends an object."""
        await self.store.client.zadd("chatq:webhooks:due", {ref: 0})

    async def read(self, ref: str) -> Delivery:
        delivery = await self.outbox.read(ref)
        assert delivery is not None
        return delivery

    async def reached(self, ref: str, is_reached: Callable[[Delivery], bool]) -> Delivery:
        """Wait until a delivery is as wanted."""
        async with asyncio.timeout(10):
            while (delivery := await self.outbox.read(ref)) is None or not is_reached(delivery):
                await asyncio.sleep(0.01)
        return delivery

    async def ended(self, ref: str, state: DeliveryState) -> Delivery:
        """Wait until a delivery has come to this end."""
        return await self.reached(ref, lambda delivery: delivery.state is state)


MakeOffice = Callable[..., Office]


@pytest.fixture
def make_office(store: Store) -> MakeOffice:
    """An office with other settings."""
    return lambda **fields: Office(store, webhook_settings(**fields))


@pytest.fixture
def office(make_office: MakeOffice) -> Office:
    return make_office()
