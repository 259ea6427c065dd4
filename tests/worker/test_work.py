"""Opening a granted job: Redis content is untrusted."""

from __future__ import annotations

import zlib

import orjson
import pytest

from shared.errors import ChatqError, InvalidRequest, ProviderNotFound
from shared.providers import ProviderRegistry
from shared.routing import Router
from shared.settings import Settings
from shared.store.grants import Grant
from worker.work import CorruptJob, Work, open_work

REQUEST = {"model": "qwen", "messages": [{"role": "user", "content": "hi"}]}


def call(request: object = REQUEST, function: str = "worker.tasks.chat") -> bytes:
    return orjson.dumps([function, None, [request], {}])


def grant(data: bytes, info: bytes = b"", queue: str = "ollama.default") -> Grant:
    return Grant("id", "1-n", queue, data, info, 1, 3, None, None, 0.0, 0)


@pytest.fixture
def router(settings: Settings, registry: ProviderRegistry) -> Router:
    return Router.from_settings(settings, registry)


def opened(router: Router, data: bytes, info: bytes = b"", queue: str = "ollama.default") -> Work:
    return open_work(grant(data, info, queue), router, max_bytes=4096)


def test_plain_rq_job_is_routed_here(router: Router) -> None:
    """Without chatq's record the request itself says where it goes."""
    assert opened(router, call()).candidate.model == "qwen"


def test_compressed_data_is_read(router: Router) -> None:
    """RQ writes zlib by default."""
    assert opened(router, zlib.compress(call())).requested_model == "qwen"


def test_routed_job_goes_where_it_was_sent(router: Router) -> None:
    """The producer's decision holds, whatever the tiers say by now."""
    info = orjson.dumps({"candidates": [["ollama", "renamed"]], "source": "nightly"})
    work = opened(router, call(), info)
    assert work.candidate.model == "renamed"
    assert work.headers(grant(b""))["X-Source"] == "nightly"


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "empty"),
        (b"\x80\x04pickle", "not JSON"),
        (b"\x78\x9cbroken", "JSON"),
        (call(function="os.system"), "not allowed"),
        (b'["worker.tasks.chat",null,[],{}]', "one request"),
        (b'["worker.tasks.chat",null,[{}],{"x":1}]', "model"),
        (b"{}", "not a call"),
        (zlib.compress(b" " * 100_000), "over 4,096 bytes"),
        (b"[" * 3000, "not JSON"),
    ],
)
def test_corrupt_data_is_named(router: Router, data: bytes, complaint: str) -> None:
    """Each kind of garbage fails its own job with a reason."""
    with pytest.raises(ChatqError, match=complaint):
        opened(router, data)


def test_bad_request_names_its_field(router: Router) -> None:
    """The request is validated again at this edge."""
    with pytest.raises(InvalidRequest, match="messages"):
        opened(router, call({"model": "qwen", "messages": "hi"}))


def test_job_on_wrong_queue_is_refused(router: Router) -> None:
    """A queue's limits are those of its provider."""
    with pytest.raises(CorruptJob, match=r"waited in queue 'openrouter\.default'"):
        opened(router, call(), queue="openrouter.default")


def test_unregistered_provider_is_named(router: Router) -> None:
    """A worker without the key says so."""
    with pytest.raises(ProviderNotFound, match="kimi"):
        opened(router, call({**REQUEST, "model": "kimi/k3"}), queue="kimi.default")


@pytest.mark.parametrize("info", [b"[]", b'{"candidates":"x"}', b"{", b'{"source":"a\\nb"}'])
def test_corrupt_record_is_refused(router: Router, info: bytes) -> None:
    """Header injection and broken records do not reach the upstream."""
    with pytest.raises(ChatqError):
        opened(router, call(), info)
