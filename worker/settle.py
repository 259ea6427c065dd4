"""Settling: outcomes and releases go to the store in groups, small enough for one script.

Group commit: whatever ended while the previous group was on its way goes in the next one; under load a group
also waits for company until `flush_s` after the previous one, else it goes at once. An answer is kept until the
store has it, however long that takes: the call is never repeated because settling failed. A grant keeps its lease
and its slot until then, so the memory is bounded by the worker's concurrency. With a spool the answer is on disk
meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence

from shared.errors import StoreFull, StoreUnavailable
from shared.store.grants import Grant, GrantStore, Outcome, Release, Routed, Settlement
from worker.spool import Spool

log = logging.getLogger(__name__)

Send = Callable[..., Awaitable[list[str]]]

RETRY_S = 5.0
"""How long one try to settle may take before it is logged and made again."""

COMPANY = 3
"""From so many in a group on more are to be expected soon: then a wait saves a trip."""

GROUP_BYTES = 4 * 1024 * 1024
"""Answers in one group, unless a single one is larger: a script that takes long blocks Redis for everybody."""


def cut(outcomes: Sequence[Outcome], *, most: int) -> Iterator[Sequence[Outcome]]:
    """Groups of at most so many outcomes and `GROUP_BYTES` of answers."""
    start = size = 0
    for index, outcome in enumerate(outcomes):
        if index - start == most or (index > start and size + len(outcome.value) > GROUP_BYTES):
            yield outcomes[start:index]
            start, size = index, 0
        size += len(outcome.value)
    if start < len(outcomes):
        yield outcomes[start:]


class Settler:
    """Collects what ended and flushes it.

    Args:
        flush_s: How long after a group of some size the next one may go; what ends until then goes together.
        flush_batch: Largest group.
        on_settled: Told each grant the store has dealt with, and how (ok, stale, revoked …).
        spool: Where answers are kept on disk meanwhile, if anywhere.
    """

    def __init__(
        self,
        store: GrantStore,
        *,
        flush_s: float,
        flush_batch: int,
        on_settled: Callable[[Grant, str], None],
        spool: Spool | None = None,
    ) -> None:
        self._store = store
        self._flush_s = flush_s
        self._flush_batch = flush_batch
        self._on_settled = on_settled
        self._spool = spool
        self._outcomes: list[Outcome] = []
        self._releases: list[Release] = []
        self._routed: list[Routed] = []
        self._has_some = asyncio.Event()
        self._busy_until = 0.0

    def put(self, settlement: Settlement) -> None:
        """Take an outcome to store, a grant to give back, or a job to send on."""
        if isinstance(settlement, Outcome):
            if self._spool is not None:
                self._spool.put(settlement)
            self._outcomes.append(settlement)
        elif isinstance(settlement, Release):
            self._releases.append(settlement)
        else:
            self._routed.append(settlement)
        self._has_some.set()

    async def run(self) -> None:
        """Flush for ever; cancel it only when nothing is left to settle."""
        while True:
            await self._has_some.wait()
            wait_s = self._busy_until - time.monotonic()
            if wait_s > 0 and len(self._outcomes) < self._flush_batch:
                await asyncio.sleep(wait_s)
            self._has_some.clear()
            outcomes, self._outcomes = self._outcomes, []
            releases, self._releases = self._releases, []
            routed, self._routed = self._routed, []
            for group in cut(outcomes, most=self._flush_batch):
                await self._until_done(self._store.finalize, group)
            for start in range(0, len(releases), self._flush_batch):
                await self._until_done(self._store.release, releases[start : start + self._flush_batch])
            for start in range(0, len(routed), self._flush_batch):
                await self._until_done(self._store.route, routed[start : start + self._flush_batch])
            if len(outcomes) + len(releases) + len(routed) >= COMPANY:
                self._busy_until = time.monotonic() + self._flush_s

    async def _until_done(self, send: Send, group: Sequence[Settlement]) -> None:
        while True:
            try:
                codes = await send(group, retry_s=RETRY_S)
            except (StoreUnavailable, StoreFull) as exc:
                log.warning("settling %d jobs waits for Redis: %s", len(group), exc)
                await asyncio.sleep(0.2)
            except Exception as exc:  # data that Redis or we cannot write; the settler itself must go on
                await self._refused(send, group, exc)
                return
            else:
                for item, code in zip(group, codes, strict=True):
                    self._done(item.grant, code)
                return

    def _done(self, grant: Grant, code: str) -> None:
        if self._spool is not None:
            self._spool.settled(grant)
        self._on_settled(grant, code)

    async def _refused(self, send: Send, group: Sequence[Settlement], exc: Exception) -> None:
        """The group is refused for good: one broken job must not hold up its neighbours."""
        if len(group) > 1:
            for index in range(len(group)):
                await self._until_done(send, group[index : index + 1])
            return
        log.error("job %s cannot be settled: %r", group[0].grant.job_id, exc)
        self._done(group[0].grant, "refused")
