"""The heartbeat: renews the leases of running jobs and the worker's entry in RQ's registry.

It has a thread and a connection of its own, so that a busy event loop does not cost leases. It watches the loop
in turn: a worker whose loop is dead stops renewing, and others take its jobs over.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time

from shared.errors import StoreError
from shared.store.leases import LeaseRenewer
from shared.store.workers import WorkerRecord
from worker.engine import Engine

log = logging.getLogger(__name__)

STAMP_S = 1.0
"""How often the event loop shows that it is alive."""


class Heartbeat:
    """Renews everything a worker holds, every `renew_s`.

    Args:
        leases: Used by this thread only, as is `record`.
    """

    def __init__(
        self,
        engine: Engine,
        record: WorkerRecord,
        leases: LeaseRenewer,
        *,
        lease_s: float,
        renew_s: float,
    ) -> None:
        self._engine = engine
        self._record = record
        self._leases = leases
        self._lease_s = lease_s
        self._renew_s = renew_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._loop = asyncio.get_running_loop()
        self._loop_alive_at = time.monotonic()

    async def run(self) -> None:
        """Beat until cancelled; then leave the registry."""
        self._thread.start()
        try:
            while self._thread.is_alive():
                self._loop_alive_at = time.monotonic()
                await asyncio.sleep(STAMP_S)
            raise RuntimeError("the heartbeat's thread died; its traceback is above")
        finally:
            self._stopping.set()
            self._thread.join()

    def _run(self) -> None:
        while True:
            has_beaten = self._beat()
            # After a failure soon again: leases run out while Redis is away.
            if self._stopping.wait(self._renew_s if has_beaten else STAMP_S):
                break
        try:
            self._record.bury()
        except StoreError as exc:
            log.warning("leaving the registry failed, its entry will expire: %s", exc)

    def _beat(self) -> bool:
        """One round; returns whether everything was renewed."""
        silent_s = time.monotonic() - self._loop_alive_at
        if silent_s > 2 * self._lease_s:
            log.error("the event loop has been stuck for %.0f s: leases are left to others", silent_s)
            return True
        try:
            members = self._engine.members()
            if lost := self._leases.renew(members):
                self._loop.call_soon_threadsafe(self._engine.lost, lost)
            self._record.beat(in_flight=len(members), is_draining=self._engine.is_draining)
        except StoreError as exc:
            log.warning("heartbeat missed: %s", exc)
            return False
        return True
