"""The engine: the loop that reads like the chain claim → attempt → settle.

One engine a process, on one event loop. It claims in batches, only what it has room for; sleeps until a signal
says that a queue stopped being empty; and keeps a slot busy until the store has taken its outcome.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

from shared.background import end_tasks
from shared.errors import StoreError
from shared.store.grants import QUARANTINE_FULL, Claimed, Grant, GrantStore, Load, Release
from worker.attempt import AttemptRunner, Slot
from worker.capacity import GROW_S, Capacity
from worker.metrics import WorkerMetrics
from worker.settle import Settler
from worker.spool import Spool

log = logging.getLogger(__name__)

GATHER_S = 0.002
"""While jobs wait, how long freed slots gather before the next claim: one round trip then serves several."""

QUIET_S = 0.004
"""After grants, how long it is quiet before the next claim is made, which stands if it finds nothing."""

STANDS = 5
"""A claim stands for so many of the longest sleeps: it is made anew before that, unless the worker has stopped."""

SUSPECT = 2
"""From so many abandonments on a job comes from the quarantine (`lua/rescue_jobs.lua`)."""

ENDED = frozenset({"finished", "failed", "canceled", "stopped", ""})
"""RQ statuses (or a hash that is gone) that make a call pointless."""


class Engine:
    """Runs jobs.

    Args:
        providers: Whose queues to claim from.
        concurrency: Slots: jobs held at once, from claim until the store has their outcome.
        claim_batch: Most jobs a claim.
        poll_s: Longest sleep without looking, in case a signal was lost.
        on_delay: Told when a job was given back for so many seconds (the promoter wants to know).
        metrics: Told how long jobs waited, and how long settling took, if anybody wants to know.
        spool: Where answers are kept on disk until they are settled, if anywhere.
    """

    def __init__(
        self,
        store: GrantStore,
        attempts: AttemptRunner,
        *,
        providers: Iterable[str],
        concurrency: int,
        claim_batch: int,
        poll_s: float,
        flush_s: float,
        flush_batch: int,
        on_delay: Callable[[float], None],
        metrics: WorkerMetrics | None = None,
        spool: Spool | None = None,
    ) -> None:
        self._store = store
        self._attempts = attempts
        self._capacity = Capacity(concurrency)
        self._claim_batch = claim_batch
        self._poll_s = poll_s
        self._on_delay = on_delay
        self._metrics = metrics
        self._slots: dict[str, Slot] = {}
        self._load = {name: Load() for name in providers}
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._sleep_s = poll_s
        self._nonce = _new_nonce()
        self._is_draining = False
        self._is_giving_back = False
        self._is_abandoned = False
        self._settler = Settler(
            store, flush_s=flush_s, flush_batch=flush_batch, on_settled=self._settled, spool=spool
        )

    # -- seen from outside ------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Grants held."""
        return len(self._slots)

    @property
    def is_draining(self) -> bool:
        """Whether claiming has stopped for good."""
        return self._is_draining

    def members(self) -> list[str]:
        """The grants to renew; safe to call from another thread."""
        return list(self._slots)

    def wake(self) -> None:
        """Something may be waiting: look now."""
        self._wake.set()

    def handed(self, nonce: str, claimed: Claimed | None) -> None:
        """The claim that stands was made by whoever enqueued (`read_handed`); None = look what it brought."""
        if nonce != self._nonce:
            return  # it is known already
        if claimed is not None and any(_provider(grant) not in self._load for grant in claimed.grants):
            claimed = None  # Redis's word is checked, anybody can publish
        if claimed is None or not claimed.grants or self._take(claimed):
            self._wake.set()
        else:
            asyncio.get_running_loop().call_later(QUIET_S, self._wake.set)

    def lost(self, members: Sequence[tuple[str, str]]) -> None:
        """Leases that are no longer ours, with the job's RQ status.

        An ended job's call is dropped. One that was taken back goes on: its answer is still welcome, if it is
        the first.
        """
        for member, status in members:
            if status in ENDED and member in self._slots:
                self._slots[member].drop("revoked")

    def stop_job(self, job_id: str) -> None:
        """Drop a job's call and end the job, unless it has ended already (RQ's stop-job)."""
        for slot in self._slots.values():
            if slot.grant.job_id == job_id:
                slot.drop("stopped")

    def drain(self) -> None:
        """Stop claiming; what runs goes on."""
        self._is_draining = True
        self._wake.set()
        self._room.set()

    def give_back_all(self) -> None:
        """Drop what still runs and put the jobs back on their queues, no attempt spent."""
        self._is_giving_back = True
        for slot in self._slots.values():
            slot.drop("drained")

    def abandon(self) -> None:
        """Stop waiting for Redis: what cannot be settled is left to its lease."""
        self._is_abandoned = True
        self._room.set()

    async def run(self, *, is_finished: Callable[[], Awaitable[bool]] | None = None) -> None:
        """Work until drained. What is `in_flight` afterwards was abandoned.

        Args:
            is_finished: For a burst: asked when nothing is found and nothing runs; True ends the run.
        """
        settling = asyncio.create_task(self._settler.run(), name="settler")
        try:
            await self._claim_until_drained(is_finished)
            await self._withdraw()
        finally:
            # Also after an error of ours: what was paid for is settled first.
            self._is_draining = True
            while self._slots and not self._is_abandoned:
                self._room.clear()
                await self._room.wait()
            await end_tasks(settling)

    # -- claim → attempt → settle -----------------------------------------------------------------

    async def _claim_until_drained(self, is_finished: Callable[[], Awaitable[bool]] | None) -> None:
        while not self._is_draining:
            if not await self._claim_once():
                if is_finished and not self._slots and await is_finished():
                    return
                await _first(self._wake, self._sleep_s)

    async def _withdraw(self) -> None:
        """See to it that no claim stands any more, and start what the last one brought."""
        nonce = self._nonce
        try:
            claimed = await self._store.withdraw(nonce=nonce)
        except StoreError as exc:
            log.warning("a claim may stand for %g s more: %s", STANDS * self._poll_s, exc)
            return
        if nonce == self._nonce:
            self._take(claimed)

    async def _claim_once(self) -> bool:
        """One claim, as soon as there is room. Returns whether to look again at once."""
        self._sleep_s = self._poll_s
        while (free := self._capacity.slots(time.monotonic()) - len(self._slots)) <= 0:
            await self._wait_for_room()
            if self._is_draining:
                return False
            await asyncio.sleep(GATHER_S)
        self._wake.clear()
        claimed = await self._claim(min(free, self._claim_batch))
        return claimed is not None and self._take(claimed)

    def _take(self, claimed: Claimed) -> bool:
        """Start what was granted. Returns whether to look again at once."""
        if claimed.grants:
            self._nonce = _new_nonce()
            now = time.monotonic()
            for grant in claimed.grants:
                self._start(grant, now)
            self._sleep_s = min(self._poll_s, QUIET_S)  # and then this one stands
        if claimed.look_again_s is not None:
            self._sleep_s = min(self._sleep_s, claimed.look_again_s)
        return claimed.has_more

    async def _wait_for_room(self) -> None:
        self._room.clear()
        if self._capacity.is_whole:
            await self._room.wait()
        else:  # room comes with time, too
            await _first(self._room, GROW_S)

    async def _claim(self, want: int) -> Claimed | None:
        """Claim, sending the same claim again until Redis answers: a lost reply must not lose its grants.

        None = there is nothing to take: the worker is told to stop, or has heard already what the claim brought.
        """
        nonce = self._nonce
        while not self._is_draining:
            try:
                claimed = await self._store.claim(
                    nonce=nonce, want=want, load=self._load, stands_s=STANDS * self._poll_s
                )
            except StoreError as exc:
                log.warning("claiming waits for Redis: %s", exc)
                await asyncio.sleep(self._poll_s)
                continue
            if nonce == self._nonce:
                return claimed
            self._wake.set()
            return None
        return None

    def _start(self, grant: Grant, now: float) -> None:
        slot = Slot(grant, _provider(grant), now)
        if self._metrics is not None:
            self._metrics.claimed(grant)
        if self._is_giving_back:  # its claim was on the way
            slot.drop("drained")
        self._slots[grant.member] = slot
        self._book(slot, 1)
        slot.task = asyncio.create_task(self._run_job(slot))

    def _book(self, slot: Slot, by: int) -> None:
        """Count a slot in or out. A suspect that was abandoned in the quarantine before takes it whole."""
        load, abandoned = self._load[slot.provider], slot.grant.abandoned
        load.in_flight += by
        if abandoned >= SUSPECT:
            load.in_quarantine += by * (QUARANTINE_FULL if abandoned > SUSPECT else 1)

    async def _run_job(self, slot: Slot) -> None:
        settlement = await self._attempts.run(slot)
        slot.ended_mono = time.monotonic()
        self._settler.put(settlement)
        if isinstance(settlement, Release):
            self._given_back(slot, settlement)

    def _given_back(self, slot: Slot, release: Release) -> None:
        if slot.no_socket:
            running = sum(other.is_running for other in self._slots.values())
            self._capacity.cut(running, time.monotonic(), why=slot.no_socket)
        if release.delay_ms:
            self._on_delay(release.delay_ms / 1000)

    def _settled(self, grant: Grant, code: str) -> None:
        slot = self._slots.pop(grant.member)
        self._book(slot, -1)
        self._room.set()
        if self._metrics is not None:
            self._metrics.settled(time.monotonic() - slot.ended_mono)
        if code not in ("ok", "same", "moved"):
            log.info("job %s: its outcome was %s", grant.job_id, code)


def _provider(grant: Grant) -> str:
    return grant.queue.rpartition(".")[0]


def _new_nonce() -> str:
    return os.urandom(6).hex()


async def _first(event: asyncio.Event, timeout_s: float) -> None:
    """Wait for the event, at most so long."""
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return
