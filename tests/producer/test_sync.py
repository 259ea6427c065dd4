"""The producer without an event loop: the same calls, from any thread."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest
import redis

from producer import JobState, Lane, Submission, SyncProducer
from shared.errors import InvalidRequest, WaitTimeout
from shared.providers import ProviderRegistry
from shared.settings import GroupSettings, Settings
from tests.support import RedisServer, WorkerRunner

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def raw(redis_server: RedisServer, redis_url: str) -> redis.Redis:
    return redis_server.client()


def test_sync_producer_does_the_same(
    settings: Settings, registry: ProviderRegistry, workers: WorkerRunner
) -> None:
    """Every call, without an event loop of one's own."""
    with SyncProducer(settings, registry=registry) as producer:
        job_id = producer.submit(CHAT, lane=Lane.INTERACTIVE)
        assert producer.get(job_id).state is JobState.QUEUED
        with pytest.raises(WaitTimeout):
            producer.wait(job_id, timeout_s=0.01)
        assert producer.cancel(job_id) is JobState.CANCELLED
        (other,) = producer.submit_many([Submission(CHAT)])
        assert [job and job.state for job in producer.get_many([job_id, str(other)])] == [
            JobState.CANCELLED, JobState.QUEUED,
        ]  # fmt: skip
        assert producer.forget([job_id]) == 1
        assert producer.status().totals["accepted"] == 2


def test_leaving_frees_waiting_threads(
    settings: Settings, registry: ProviderRegistry, raw: redis.Redis
) -> None:
    """A thread in a wait without end is told that it is over; later calls are refused."""
    with ThreadPoolExecutor() as pool:
        with SyncProducer(settings, registry=registry) as producer:
            job_id = producer.submit(CHAT)
            wait = pool.submit(producer.wait, job_id)
            while not raw.hget(f"rq:job:{job_id}", "cq_notify"):
                assert not wait.done()
        with pytest.raises(CancelledError):
            wait.result(timeout=20)
    with pytest.raises(RuntimeError, match="context manager"):
        producer.get(job_id)
    producer_threads = [t for t in threading.enumerate() if t.name == "chatq-producer"]
    assert producer_threads == []


def test_tags_are_for_groups_and_are_checked(settings: Settings, registry: ProviderRegistry) -> None:
    """Of a job for a plain model too, so that no mistake is met late."""
    rules = [{"rule_id": "vip", "conditions": {"any_of_tags": ["vip"]}, "primary_model": "ollama/b"}]
    group = GroupSettings.model_validate({"targets": ["ollama/a", "ollama/b"], "rules": rules})
    settings = settings.model_copy(update={"groups": {"mine": group}})
    with SyncProducer(settings, registry=registry) as producer:
        job = producer.get(producer.submit({**CHAT, "model": "mine"}, tags=["vip"]))
        assert job.candidate is not None
        assert job.candidate.model == "b"
        with pytest.raises(InvalidRequest, match="tags: must be up to 20 texts"):
            producer.submit(CHAT, tags="vip")
