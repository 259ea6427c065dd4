"""The waiter: one subscription a process, any number of jobs waited for.

A job's waiters are told by the script that ends it. Subscribe first, then register and read in one step, then
sleep: no wake-up is lost. Pub/sub may lose messages all the same, so everything still waited for is looked up
again after a gap and at a slow poll.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from shared.background import end_tasks
from shared.errors import StoreError
from shared.store.connect import Store
from shared.store.jobs import JobStore
from shared.store.reading import Told, read_ended
from shared.store.signals import Signals

log = logging.getLogger(__name__)

SLOW_POLL_S = 5.0
"""How long a lost message can delay a waiter."""

OnEnd = Callable[[str, Told | None], None]
"""Told which job has ended, and what became of it if that is known."""


class Waiter:
    """Tells callbacks that jobs have ended.

    Args:
        channel: `keys.waiter_channel` or `keys.answers_channel` of its own.
    """

    def __init__(self, store: Store, jobs: JobStore, channel: str) -> None:
        self.channel = channel
        self._jobs = jobs
        self._waiting: dict[str, list[OnEnd]] = {}
        self._in_store: set[str] = set()
        self._check_all = asyncio.Event()
        self._signals = Signals(store, [self.channel], on_message=self._told, on_gap=self._check_all.set)
        self._start_lock = asyncio.Lock()
        self._poller: asyncio.Task[None] | None = None

    @property
    def has_started(self) -> bool:
        """Whether `start` has been done."""
        return self._poller is not None

    async def start(self) -> None:
        """Subscribe, once; `register` and `channel` are of use only after this."""
        async with self._start_lock:
            if self._poller is None:
                await self._signals.start()
                self._poller = asyncio.create_task(self._poll(), name="waiter-poll")

    async def stop(self) -> None:
        """Unsubscribe; callbacks not called by now never will be."""
        if self._poller is not None:
            await end_tasks(self._poller)
        await self._signals.stop()  # a start that was given up half-way left it at work

    def expect(self, job_id: str, on_end: OnEnd) -> None:
        """Have `on_end` called once, in the loop, when the job ends.

        The store must know this waiter's channel: by an enqueue, told by `enqueued`, or by `register`.
        """
        self._waiting.setdefault(job_id, []).append(on_end)

    def drop(self, job_id: str, on_end: OnEnd) -> None:
        """Take an expectation back; one that was met or never made is fine."""
        callbacks = self._waiting.get(job_id, [])
        if on_end in callbacks:
            callbacks.remove(on_end)
        if not callbacks:
            self._waiting.pop(job_id, None)
            self._in_store.discard(job_id)

    def is_expected(self, job_id: str) -> bool:
        """Whether anybody in this process waits for the job."""
        return job_id in self._waiting

    def enqueued(self, job_ids: Iterable[str]) -> None:
        """These jobs are in the store, with this waiter's channel: from now on the slow poll looks after them."""
        self._in_store.update(job_id for job_id in job_ids if job_id in self._waiting)

    async def register(self, job_ids: Sequence[str]) -> list[str]:
        """Put this waiter's channel on jobs; those that have ended already are told at once.

        Returns:
            Ids the store does not know.

        Raises:
            StoreUnavailable: No answer from Redis.
        """
        codes = await self._jobs.watch(job_ids, channel=self.channel)
        self.enqueued(job_id for job_id, code in zip(job_ids, codes, strict=True) if code == 0)
        self._ended(job_id for job_id, code in zip(job_ids, codes, strict=True) if code == 2)
        return [job_id for job_id, code in zip(job_ids, codes, strict=True) if code == -1]

    def _told(self, _channel: str, data: bytes) -> None:
        self._ended(*read_ended(data))

    def _ended(self, job_ids: Iterable[str], ended: Told | None = None) -> None:
        for job_id in job_ids:
            self._in_store.discard(job_id)
            for on_end in self._waiting.pop(job_id, ()):
                on_end(job_id, ended)

    async def _poll(self) -> None:
        while True:
            try:
                async with asyncio.timeout(SLOW_POLL_S):
                    await self._check_all.wait()
            except TimeoutError:
                log.debug("slow poll of %d jobs", len(self._in_store))
            self._check_all.clear()
            try:
                # A job that is gone ended too: whoever waits reads it and sees.
                self._ended(await self.register(list(self._in_store)))
            except StoreError as exc:
                log.warning("waiting goes on without Redis: %s", exc)
