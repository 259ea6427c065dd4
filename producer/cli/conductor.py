"""The conductor of `chatq run`: the batch, its worker, the signals, and who is told when nobody works."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from producer.batch import BatchRun
from producer.cli.own_worker import OwnWorker
from producer.cli.session import how_to_start, providers_served
from producer.client import Producer
from shared.errors import JobRejected, StoreError
from shared.routing import Router

LOOK_S = 2.0
"""Between two looks for workers on a Redis whose workers are not ours."""

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

KILL_MARGIN_S = 10.0
"""An own worker that has not ended this long after its grace period is killed."""


class Conductor:
    """Runs a batch to its end or to an interruption.

    Attributes:
        interrupted_by: The signal that ended it early, or None.
    """

    def __init__(
        self,
        batch: BatchRun,
        producer: Producer,
        router: Router,
        *,
        worker: OwnWorker | None,
        grace_s: float,
        say: Callable[[str], None],
    ) -> None:
        self.interrupted_by: signal.Signals | None = None
        self._batch = batch
        self._producer = producer
        self._router = router
        self._worker = worker
        self._grace_s = grace_s
        self._say = say
        self._told: set[str] = set()

    async def run(self) -> bool:
        """Returns whether every line is recorded.

        Raises:
            WorkerLost: The own worker keeps dying.
            BatchRefused, StoreError: As `BatchRun.run`.
        """
        loop = asyncio.get_running_loop()
        # `nohup` and some supervisors ignore SIGHUP on purpose.
        taken = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        for number in taken:
            loop.add_signal_handler(number, self._interrupt, number)
        running = asyncio.create_task(self._batch.run(), name="batch")
        helping = asyncio.create_task(
            self._worker.supervise() if self._worker else self._look_for_workers(), name="helper"
        )
        try:
            await asyncio.wait((running, helping), return_when=asyncio.FIRST_COMPLETED)
            if helping.done():
                # An own worker that is stopped or lost: nothing more will end.
                self._batch.finish()
            is_complete = await running
            if helping.done():
                helping.result()
            return is_complete
        finally:
            await self._end(helping)
            for number in taken:
                loop.remove_signal_handler(number)

    def _interrupt(self, number: signal.Signals) -> None:
        is_first, self.interrupted_by = self.interrupted_by is None, number
        if self._worker is None:
            self._batch.finish()
            return
        self._worker.stop()
        if is_first:
            self._batch.stop_feeding()
            self._say("stopping: running calls may finish; once more to stop at once")
        else:
            self._batch.finish()

    async def _end(self, helping: asyncio.Task[None]) -> None:
        if self._worker is None:
            helping.cancel()
        else:
            self._worker.stop()
        try:
            async with asyncio.timeout(self._grace_s + KILL_MARGIN_S):
                await asyncio.gather(helping, return_exceptions=True)
        except TimeoutError:
            self._say("the worker does not end; it was killed, its jobs go on with the next one")

    async def _look_for_workers(self) -> None:
        """Say once for each provider that no living worker serves it."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                served = providers_served(await self._producer.status())
            except StoreError:
                continue  # the batch itself meets that, and decides
            missing = self._providers_needed() - served - self._told
            if missing:
                self._told |= missing
                self._say(f"no worker serves {', '.join(sorted(missing))}: {how_to_start(self._producer)}")

    def _providers_needed(self) -> set[str]:
        needed = set()
        for model in self._batch.models:
            try:
                needed.add(self._router.resolve(model).provider)
            except JobRejected:
                continue  # that line has failed already
        return needed
