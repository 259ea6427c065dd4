"""Deliverer: the background role that tells receivers what has ended."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from producer.webhooks.attempt import Attempts
from producer.webhooks.event import Describers
from producer.webhooks.jobs import job_describer
from producer.webhooks.sender import Sender
from shared.errors import StoreError
from shared.settings import WebhookSettings
from shared.store.connect import Store
from shared.store.responses import ResponseStore
from shared.store.webhooks import DeliveryState, Due, Settlement, WebhookOutbox

log = logging.getLogger(__name__)

POLL_S = 1.0
"""Interval of looks for what is due."""

LEASE_MARGIN_S = 60.0
"""How much longer than a call a lease lasts: time to look the object up, and to settle over an outage."""

START_S = LEASE_MARGIN_S / 2
"""A call that has not begun within this time after its claim is left to the next claim."""

RETRY_S = 1.0
"""How long Redis is asked again in one round of the loop; the next round goes on with it."""


class Deliverer:
    """Tells receivers of ends; any number of them work beside each other.

    Args:
        poll_s: Interval of looks for what is due, in seconds.
    """

    def __init__(
        self, outbox: WebhookOutbox, attempts: Attempts, settings: WebhookSettings, *, poll_s: float = POLL_S
    ) -> None:
        self._outbox = outbox
        self._attempts = attempts
        self._places = settings.concurrency
        self._lease_s = settings.timeout_s + LEASE_MARGIN_S
        self._poll_s = poll_s
        self._calls: dict[asyncio.Task[Settlement | None], Due] = {}
        self._unsettled: list[Settlement] = []
        self._token = ""
        """Of the claim that is on its way."""
        self._claimed_at = 0.0
        self._stopping = asyncio.Event()
        self._has_failed = False

    async def run(self) -> None:
        """Deliver until cancelled: calls that are being made are dropped then, and due again at once."""
        working = asyncio.create_task(self._work(), name="webhooks")
        try:
            await asyncio.shield(working)
        finally:
            self._stopping.set()
            self._drop_calls()
            # The work ends by itself now, and soon; no cancellation may hit it in the middle of a write to Redis.
            while not working.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([working])

    async def _work(self) -> None:
        """Claim, call, settle: one loop, so that what ends together is written together."""
        stopped = asyncio.create_task(self._stopping.wait(), name="webhooks-stop")
        while not self._stopping.is_set():
            for due in await self._claim():
                call = asyncio.create_task(
                    self._attempts.make(due, start_by=self._claimed_at + START_S), name="webhook"
                )
                self._calls[call] = due
            await asyncio.wait({stopped, *self._calls}, timeout=self._poll_s, return_when="FIRST_COMPLETED")
            await self._settle()
        self._drop_calls()  # those of a claim that was on its way when the end came
        if self._calls:
            await asyncio.wait(self._calls)
        await self._settle()

    def _drop_calls(self) -> None:
        for call in self._calls:
            call.cancel()

    async def _claim(self) -> list[Due]:
        """What is to be told next, as far as there are places; nothing while Redis is away."""
        places = self._places - len(self._calls)
        if not places or self._unsettled:
            return []
        # A claim without an answer is sent again as it was, and so gets what it may have taken.
        if not self._token:
            self._token, self._claimed_at = os.urandom(8).hex(), time.monotonic()
        try:
            claimed = await self._outbox.claim(
                places, token=self._token, lease_s=self._lease_s, retry_s=RETRY_S
            )
        except StoreError as exc:
            self._failed(exc)
            return []
        self._token, self._has_failed = "", False
        return claimed

    async def _settle(self) -> None:
        """Write down what became of the calls that ended; what Redis does not take is kept for the next round."""
        for call in [call for call in self._calls if call.done()]:
            settlement = self._settlement_of(call, self._calls.pop(call))
            if settlement is not None:
                self._unsettled.append(settlement)
        if not self._unsettled:
            return
        try:
            await self._outbox.settle(self._unsettled, retry_s=RETRY_S)
        except StoreError as exc:
            self._failed(exc)
        else:
            self._unsettled = []

    def _settlement_of(self, call: asyncio.Task[Settlement | None], due: Due) -> Settlement | None:
        if call.cancelled():
            return Settlement(due, DeliveryState.PENDING, is_free=True)
        error = call.exception()
        return call.result() if error is None else self._attempts.broken(due, error)

    def _failed(self, exc: StoreError) -> None:
        """One line an outage, not one each try."""
        if not self._has_failed:
            log.warning("webhooks wait for Redis: %s", exc)
        self._has_failed = True


@asynccontextmanager
async def open_deliverer(
    store: Store, settings: WebhookSettings, describers: Describers, *, poll_s: float = POLL_S
) -> AsyncIterator[Deliverer]:
    """A deliverer of a process that is to `run` while this is open.

    Args:
        describers: Of what is no job.
        poll_s: Interval of looks for what is due, in seconds.
    """
    outbox = WebhookOutbox(store)
    async with Sender(settings) as sender:
        jobs = job_describer(outbox, ResponseStore(store))
        attempts = Attempts({"job": jobs, **describers}, sender, settings)
        yield Deliverer(outbox, attempts, settings, poll_s=poll_s)
