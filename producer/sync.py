"""The producer for code without an event loop: the same calls, run on a loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, TypeVar, cast

from producer.client import Producer
from producer.submission import Submission
from shared.background import end_tasks
from shared.chat import ChatRequest
from shared.errors import JobRejected
from shared.job import Job, JobState
from shared.providers import ProviderRegistry
from shared.settings import Settings
from shared.store.status import QueueStatus

T = TypeVar("T")


class SyncProducer:
    """`Producer` without `await`. A context manager; safe to use from several threads.

    Leaving it ends the calls that other threads are in: they raise `concurrent.futures.CancelledError`.
    """

    def __init__(self, settings: Settings, *, registry: ProviderRegistry) -> None:
        self._opening: AbstractAsyncContextManager[Producer] = Producer.open(settings, registry=registry)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chatq-producer", daemon=True)
        self._producer: Producer | None = None
        self._gate = threading.Lock()

    def __enter__(self) -> SyncProducer:
        self._thread.start()
        try:
            self._producer = self._run(self._opening.__aenter__())
        except BaseException:
            self._stop_loop()
            raise
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        with self._gate:
            self._producer = None  # calls from now on are refused; those under way are in the loop already
        try:
            self._run(_cancel_others())
            self._run(self._opening.__aexit__(exc_type, exc, tb))
        finally:
            self._stop_loop()

    def submit(self, request: ChatRequest | Mapping[str, Any], **options: Any) -> str:
        """See `Producer.submit`."""
        return self._call(lambda p: p.submit(request, **options))

    def submit_many(self, submissions: Iterable[Submission]) -> list[str | JobRejected]:
        """See `Producer.submit_many`."""
        return self._call(lambda p: p.submit_many(submissions))

    def get(self, job_id: str) -> Job:
        """See `Producer.get`."""
        return self._call(lambda p: p.get(job_id))

    def get_many(self, job_ids: Sequence[str]) -> list[Job | None]:
        """See `Producer.get_many`."""
        return self._call(lambda p: p.get_many(job_ids))

    def wait(self, job_id: str, *, timeout_s: float | None = None) -> Job:
        """See `Producer.wait`."""
        return self._call(lambda p: p.wait(job_id, timeout_s=timeout_s))

    def cancel(self, job_id: str) -> JobState:
        """See `Producer.cancel`."""
        return self._call(lambda p: p.cancel(job_id))

    def cancel_many(self, job_ids: Sequence[str], *, spares_running: bool = False) -> int:
        """See `Producer.cancel_many`."""
        return self._call(lambda p: p.cancel_many(job_ids, spares_running=spares_running))

    def forget(self, job_ids: Sequence[str]) -> int:
        """See `Producer.forget`."""
        return self._call(lambda p: p.forget(job_ids))

    def status(self) -> QueueStatus:
        """See `Producer.status`."""
        return self._call(lambda p: p.status())

    def _call(self, method: Callable[[Producer], Coroutine[Any, Any, T]]) -> T:
        with self._gate:
            if self._producer is None:
                raise RuntimeError("use SyncProducer as a context manager: with SyncProducer(…) as producer:")
            future = asyncio.run_coroutine_threadsafe(method(self._producer), self._loop)
        return future.result()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _stop_loop(self) -> None:
        self._run(_cancel_others())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _cancel_others() -> None:
    """End what else runs in this loop, so that no thread waits for a loop that has stopped."""
    await end_tasks(*(asyncio.all_tasks() - {cast(asyncio.Task[Any], asyncio.current_task())}))
