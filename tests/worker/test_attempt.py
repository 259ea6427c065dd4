"""One attempt: how a grant is settled when no call could be made."""

from __future__ import annotations

import time
from collections.abc import Mapping

import orjson
import pytest

from shared.catalogue import Catalogue
from shared.chat import ChatRequest
from shared.errors import OutOfSockets
from shared.providers import Provider, ProviderRegistry
from shared.routing import Router
from shared.settings import Settings
from shared.store.call_result import CallResult
from shared.store.grants import Grant, Release
from tests.worker.support import no_deltas, no_rater
from worker.attempt import AttemptRunner, Slot
from worker.metrics import WorkerMetrics
from worker.upstream import Answer
from worker.verdict import NO_SOCKET_S, RetryPolicy

POLICY = RetryPolicy(max_attempts=3, backoff_base_s=0.5, backoff_max_s=30.0, max_rate_limit_waits=5)

REQUEST = {"model": "qwen", "messages": [{"role": "user", "content": "hi"}]}


class NoSocket:
    """An upstream that cannot be called from here."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider

    async def call(
        self,
        request: ChatRequest,
        model: str,
        *,
        headers: Mapping[str, str],
        timeout_s: float,
        on_delta: object = None,
    ) -> Answer:
        raise OutOfSockets("Too many open files")

    async def close(self) -> None:
        raise AssertionError("nothing closes it")


@pytest.fixture
def metrics() -> WorkerMetrics:
    return WorkerMetrics(["ollama"])


@pytest.fixture
def attempts(settings: Settings, registry: ProviderRegistry, metrics: WorkerMetrics) -> AttemptRunner:
    router = Router.from_settings(settings, registry)
    upstreams = {"ollama": NoSocket(registry.get("ollama"))}
    catalogue = Catalogue.from_settings(settings)
    return AttemptRunner(
        router,
        upstreams,
        POLICY,
        catalogue=catalogue,
        rater=no_rater(router),
        max_bytes=4096,
        deltas=no_deltas(),
        metrics=metrics,
    )


def slot(*, attempts: int = 1, deadline_in_s: float | None = None) -> Slot:
    data = orjson.dumps(["worker.tasks.chat", None, [REQUEST], {}])
    deadline_at = None if deadline_in_s is None else 1000.0 + deadline_in_s
    grant = Grant("id", "1-n", "ollama.default", data, b"", attempts, 3, deadline_at, None, 1000.0, 0, 70)
    return Slot(grant, "ollama", time.monotonic())


async def test_no_socket_is_no_attempt(attempts: AttemptRunner) -> None:
    """The job waits a moment, also after what would have been its last attempt, and the engine can read why."""
    held = slot(attempts=3)
    given_back = await attempts.run(held)
    assert isinstance(given_back, Release)
    assert (given_back.reason, given_back.gives_attempt_back) == ("backoff", True)
    assert NO_SOCKET_S[0] <= given_back.delay_ms / 1000 <= NO_SOCKET_S[1]
    assert orjson.loads(given_back.error)["code"] == "out_of_sockets"
    assert held.no_socket == "Too many open files"


async def test_no_socket_is_no_call(attempts: AttemptRunner, metrics: WorkerMetrics) -> None:
    """No event and no count of a call; what was booked for it goes back, and nobody is blamed."""
    given_back = await attempts.run(slot())
    assert given_back.attempt_event == b""
    assert given_back.shown == CallResult(70, 1000.0, "refused").encode()
    assert not metrics.providers["ollama"].outcomes


async def test_no_socket_here_leaves_others_the_time(attempts: AttemptRunner) -> None:
    """A job whose deadline is near goes back while another worker can still do it."""
    given_back = await attempts.run(slot(deadline_in_s=0.2))
    assert isinstance(given_back, Release)
    assert given_back.delay_ms <= 100
