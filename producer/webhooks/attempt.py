"""Attempt: one end told once, from its ref to what is to be written down about it."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from producer.webhooks.backoff import delay_s
from producer.webhooks.event import Describers, Notice, event_of
from producer.webhooks.hosts import Hosts
from producer.webhooks.sender import Answer, Sender
from producer.webhooks.target import host_of
from shared.errors import StoreError
from shared.settings import WebhookSettings
from shared.store.webhooks import DeliveryState, Due, Settlement

log = logging.getLogger(__name__)

HOST_SHARE = 5
"""One host gets a fifth of a process's places."""

ASK_AGAIN_S = 1.0
"""When an end is looked at again whose object could not be read."""

GAVE_UP, NO_SECRET, INTERNAL = "gave_up", "no_secret", "internal_error"
"""Errors of attempts that made no call: too many deliverers died at it; there is nothing to sign with; a bug."""


class Attempts:
    """Makes attempts.

    Args:
        describers: What is to be told, by kind of object.
        now: Unix seconds.
        rng: Source of the backoff's jitter.
    """

    def __init__(
        self,
        describers: Describers,
        sender: Sender,
        settings: WebhookSettings,
        *,
        now: Callable[[], float] = time.time,
        rng: random.Random | None = None,
    ) -> None:
        self._describers = describers
        self._sender = sender
        self._settings = settings
        self._now = now
        self._rng = rng or random.Random()
        self._hosts = Hosts(max(1, settings.concurrency // HOST_SHARE))

    async def make(self, due: Due, *, start_by: float) -> Settlement | None:
        """Tell an end; None leaves it to the next claim.

        Args:
            start_by: The call begins no later than this, on the monotonic clock: its lease would not last.
        """
        kind, _, object_id = due.ref.partition(":")
        describe = self._describers.get(kind)
        try:
            notice = await describe(object_id) if describe else None
        except StoreError:  # its own text stands in the log of the next claim
            return Settlement(due, DeliveryState.PENDING, delay_s=ASK_AGAIN_S, is_free=True)
        if notice is None:
            return Settlement(due, DeliveryState.NOTHING, is_free=True)
        settlement = await self._tell(due, notice, start_by)
        return settlement and replace(settlement, client=notice.client)

    def broken(self, due: Due, error: BaseException) -> Settlement:
        """An attempt that raised: a bug, or an object nobody can describe; the others go on."""
        log.error("webhook %s: attempt %d broke down", due.ref, due.attempt, exc_info=error)
        return self._failed(due, {"attempt": due.attempt, "at": self._now(), "error": INTERNAL})

    async def _tell(self, due: Due, notice: Notice, start_by: float) -> Settlement | None:
        event = event_of(due.ref, notice)
        if event.id == due.told:
            return Settlement(due, DeliveryState.DELIVERED, is_free=True)
        entry = {"attempt": due.attempt, "at": self._now(), "event": event.id, "type": event.type}
        if due.attempt > self._settings.max_attempts:
            return self._failed(due, entry | {"error": GAVE_UP})
        if not self._settings.secret.get_secret_value():
            return self._failed(due, entry | {"error": NO_SECRET}, is_final=True)
        host, begun_at = host_of(notice.url), time.monotonic()
        if begun_at > start_by:
            return None
        wait_s = self._hosts.enter(host, now=begun_at)
        if wait_s is not None:
            return Settlement(due, DeliveryState.PENDING, delay_s=wait_s, is_free=True)
        try:
            answer = await self._sender.send(notice.url, event)
        finally:
            took_s = time.monotonic() - begun_at
            self._hosts.leave(host, took_s=took_s)
        entry |= {"status": answer.status, "error": answer.error, "duration_s": round(took_s, 3)}
        if answer.error is None:
            log.info("webhook %s: told %s", due.ref, host)
            return Settlement(due, DeliveryState.DELIVERED, entry=entry, told=event.id)
        log.info("webhook %s: attempt %d at %s failed: %s", due.ref, due.attempt, host, _in_words(answer))
        return self._failed(due, entry, is_final=answer.is_final, retry_after_s=answer.retry_after_s)

    def _failed(
        self, due: Due, entry: dict[str, Any], *, is_final: bool = False, retry_after_s: float | None = None
    ) -> Settlement:
        if is_final or due.attempt >= self._settings.max_attempts:
            log.warning("webhook %s: given up after %d attempts: %s", due.ref, due.attempt, entry["error"])
            return Settlement(due, DeliveryState.FAILED, entry=entry)
        wait_s = delay_s(due.attempt, retry_after_s, self._settings, self._rng)
        return Settlement(due, DeliveryState.PENDING, delay_s=wait_s, entry=entry)


def _in_words(answer: Answer) -> str:
    return f"{answer.error} {answer.status}" if answer.status else str(answer.error)
