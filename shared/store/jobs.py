"""Jobs as the producer sees them: accept, read, watch, cancel, forget."""

from __future__ import annotations

import enum
import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson
from redis.exceptions import RedisError

from shared.job import Job, Lane
from shared.settings import AdmissionSettings, LaneBounds
from shared.store import rq_layout
from shared.store.connect import Store
from shared.store.pipe import Arg
from shared.store.reading import read_jobs
from shared.store.scripts import translate

BATCH = 100
"""Jobs a script call: about 1 ms of Redis for small jobs, which serves nobody else meanwhile; most fit into a
socket's buffer, so that they are sent while the next ones are prepared."""

BATCH_BYTES = 4 * 1024 * 1024
"""Payload a script call, unless a single job is larger: 5 to 10 ms of Redis."""


class Accepted(enum.IntEnum):
    """What the store made of a job that was handed in."""

    NEW = 1
    KNOWN = 0
    """The same job is there already, unfinished."""
    ENDED = 2
    """The same job is there already, with its outcome."""
    CONFLICT = -1
    """Another job holds this id."""
    REFUSED = -2
    """The lane is full; nothing was written."""


class Cost(NamedTuple):
    """What a job asks of limits (`cq_cost`).

    Attributes:
        prompt_tokens: Estimated.
        output_tokens: The cap that the request states; 0 = none.
        payload_bytes: Size of the request, for the bounds on waiting work.
        client: Whose share and limits it draws on.
        model: The candidate's name for its model.
    """

    prompt_tokens: int
    output_tokens: int
    payload_bytes: int
    client: str
    model: str

    def encode(self) -> str:
        """As the scripts read it (`parse_cost` in `lua/lib/base.lua`)."""
        return f"{self.prompt_tokens} {self.output_tokens} {self.payload_bytes} {self.client}\n{self.model}"


_ACCEPTED = {int(code): code for code in Accepted}
"""By number; calling the class takes several times as long."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a queue took no further job.

    Attributes:
        bound: Which bound of its lane: `jobs`, `bytes` or `age` (ms).
        there: What is there now, in that unit.
        retry_after_s: When it is worth trying again, from the rate it drains at; None = unknown.
    """

    queue: str
    bound: str
    there: float
    retry_after_s: float | None


@dataclass(frozen=True, slots=True)
class Enqueued:
    """What became of a batch: a code a job, in order, and the refusing queues by name."""

    codes: list[Accepted]
    refusals: dict[str, Refusal]


class NewJob(NamedTuple):
    """A validated, routed job on its way into the store."""

    id: str
    queue: str
    request_json: bytes
    info_json: bytes
    """What stands beside the request (`shared/job_record.py`)."""
    cost: Cost
    candidates: Sequence[tuple[str, str] | tuple[str, str, int, int] | tuple[str, str, int, int, str]]
    """Provider and model of each, in order of preference; of a job that is rated first with the prompt and output
    tokens of a call there, and `rating` for a selector."""
    max_attempts: int
    expires_in_ms: int
    """0 = no deadline."""
    has_key: bool = False
    """The id stands for an idempotency key: the same request may come again, written otherwise."""
    is_listed: bool = False
    """It is found in its client's listing."""
    has_webhook: bool = False
    """Its end goes to the webhooks (`keys.WEBHOOKS_DUE`), whoever ends it."""

    @property
    def digest(self) -> bytes:
        """What tells two bodies apart under one id; with a key, the order of fields is no difference."""
        body = self.request_json
        if self.has_key:
            body = orjson.dumps(orjson.loads(body), option=orjson.OPT_SORT_KEYS)
        return hashlib.blake2b(body, digest_size=8).hexdigest().encode()


def new_id() -> str:
    """A fresh job id: 48 bits of Unix ms and 80 random bits, hex; sorts by time, valid for RQ."""
    return f"{time.time_ns() // 1_000_000:012x}{_random_part()}"


_drawn: list[str] = []
"""Random parts for the next ids: drawn one by one, the system call costs 6 % of a bulk submit."""

os.register_at_fork(after_in_child=_drawn.clear)  # no two processes use the same


def _random_part() -> str:
    while True:
        try:
            return _drawn.pop()  # one step, also between threads
        except IndexError:
            block = os.urandom(10 * 64).hex()
            _drawn.extend(block[start : start + 20] for start in range(0, len(block), 20))


def id_from_key(client: str, key: str) -> str:
    """The job id that an idempotency key stands for, within one client: same key, same id."""
    return hashlib.blake2b(f"{client}\0{key}".encode(), digest_size=16).hexdigest()


def _batches(jobs: Iterable[NewJob]) -> Iterator[list[NewJob]]:
    """Cut at `BATCH` jobs and at `BATCH_BYTES`; never empty."""
    batch: list[NewJob] = []
    batch_bytes = 0
    for job in jobs:
        job_bytes = len(job.request_json) + len(job.info_json)
        if batch and (len(batch) == BATCH or batch_bytes + job_bytes > BATCH_BYTES):
            yield batch
            batch, batch_bytes = [], 0
        batch.append(job)
        batch_bytes += job_bytes
    if batch:
        yield batch


_MARKS = {(False, False): "-", (True, False): "l", (False, True): "w", (True, True): "b"}


def _marks(jobs: Sequence[NewJob]) -> str:
    """A letter a job, as `enqueue_jobs` reads it; most jobs have no mark, and then nothing is said."""
    if not any(job.is_listed or job.has_webhook for job in jobs):
        return ""
    return "".join(_MARKS[job.is_listed, job.has_webhook] for job in jobs)


def _bounds(settings: AdmissionSettings) -> tuple[Arg, ...]:
    """The bounds that are set, as `enqueue_jobs` reads them: their number, then four words each."""
    words: list[Arg] = []
    for lane in Lane:
        bound: LaneBounds = getattr(settings, lane.value)
        if bound.max_jobs or bound.max_bytes or bound.max_age_s:
            words += (lane.value, bound.max_jobs, bound.max_bytes, round(bound.max_age_s * 1000))
    return (len(words) // 4, *words)


def _refusals(words: Sequence[Any]) -> dict[str, Refusal]:
    found = {}
    for queue, bound, there, wait_ms in zip(*(iter(words),) * 4, strict=True):
        name = queue.decode()
        found[name] = Refusal(
            name, bound.decode(), float(there), int(wait_ms) / 1000 if int(wait_ms) >= 0 else None
        )
    return found


class JobStore:
    """The producer's access to jobs. All calls are safe to repeat.

    Args:
        result_ttl_s: How long an answer is kept after it came.
        failure_ttl_s: The same for errors and cancelled jobs.
        timeout_s: RQ's own time limit, for stock workers only; chatq's is the provider's.
        max_events: Length of the telemetry stream; 0 = off.
        bounds: What may wait in each lane.
    """

    def __init__(
        self,
        store: Store,
        *,
        result_ttl_s: int,
        failure_ttl_s: int,
        max_events: int,
        bounds: AdmissionSettings,
        timeout_s: int = 180,
    ) -> None:
        self._store = store
        self._max_events = max_events
        self._head: tuple[Arg, ...] = (result_ttl_s, failure_ttl_s, timeout_s)
        self._bounds = _bounds(bounds)

    async def enqueue(self, jobs: Sequence[NewJob], *, channel: str = "") -> Enqueued:
        """Hand jobs in; with `channel`, its owner is told when they end.

        Raises:
            StoreFull: Over maxmemory; the jobs of earlier batches of this call are in.
            StoreUnavailable: Unknown outcome; hand the same jobs in again.
        """
        codes: list[Accepted] = []
        refusals: dict[str, Refusal] = {}
        for batch in _batches(jobs):
            args: list[Arg] = [*self._head, channel, _marks(batch), *self._bounds]
            for job in batch:
                args += (
                    job.id, job.digest, job.queue, rq_layout.encode_call(job.request_json),
                    job.info_json, job.max_attempts, job.expires_in_ms, job.cost.encode(),
                    orjson.dumps(job.candidates) if len(job.candidates) > 1 else b"",
                )  # fmt: skip
            then = ("claim_jobs", [batch[0].queue]) if len(batch) == 1 else None
            replied, refused = await self._store.run("enqueue_jobs", args, then=then)
            codes += [_ACCEPTED[code] for code in replied]
            refusals |= _refusals(refused)
        return Enqueued(codes, refusals)

    async def watch(self, job_ids: Sequence[str], *, channel: str) -> list[int]:
        """Have the channel told when jobs end. Returns a code a job: 0 watched, 2 ended already, -1 unknown."""
        codes: list[int] = []
        for start in range(0, len(job_ids), BATCH):
            codes += await self._store.run("watch_jobs", [channel, *job_ids[start : start + BATCH]])
        return codes

    async def read(self, job_ids: Sequence[str]) -> list[Job | None]:
        """The jobs as they are now; None for an id the store does not know.

        Raises:
            StoreUnavailable: No answer from Redis.
        """
        try:
            return await read_jobs(self._store, job_ids)
        except RedisError as exc:
            raise translate(exc) from exc

    async def cancel(
        self, job_ids: Sequence[str], *, spares_running: bool = False, own_channels: Sequence[str] = ()
    ) -> list[tuple[str, str]]:
        """End jobs as cancelled. Returns (state before, state after) a job; empty strings for unknown ids.

        Args:
            spares_running: Leave alone what a worker has.
            own_channels: Leave alone what waiters of other channels wait for; none = nobody is asked.
        """
        reply: list[str] = []
        for start in range(0, len(job_ids), BATCH):
            words = await self._store.run(
                "cancel_jobs",
                [
                    self._max_events,
                    int(spares_running),
                    " ".join(own_channels),
                    *job_ids[start : start + BATCH],
                ],
            )
            reply += [word.decode(errors="replace") for word in words]
        return list(zip(reply[::2], reply[1::2], strict=True))

    async def forget(self, job_ids: Sequence[str]) -> int:
        """Delete ended jobs whose outcome has been collected; returns how many. Unfinished ones stay."""
        gone = 0
        for start in range(0, len(job_ids), BATCH):
            gone += await self._store.run("forget_jobs", list(job_ids[start : start + BATCH]))
        return gone
