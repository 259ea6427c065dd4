"""The laboratory: a Redis, an upstream and workers, each on its core, on loopback, gone at the end."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import httpx
import orjson
import redis

from shared.chat import ChatRequest, parse_request
from shared.providers import ProviderRegistry
from shared.settings import Settings, load_settings
from shared.store.embedded import EmbeddedServer

CORES = sorted(os.sched_getaffinity(0))
WORKER_CORE, OTHER_CORE = CORES[0], CORES[-1]
"""The worker under test has a core to itself; Redis, the upstream and the driver share the other."""

PROVIDER = "bench"

PROMPT = "Summarise the following support ticket in one sentence, name the product and the mood. " * 10
"""Makes the request body about 1 kB."""


def request(number: int = 0) -> ChatRequest:
    """One chat request of about 1 kB."""
    messages = [
        {"role": "system", "content": "You are a terse assistant."},
        {"role": "user", "content": f"#{number} {PROMPT}"},
    ]
    return parse_request(
        {"model": f"{PROVIDER}/small", "messages": messages, "max_tokens": 60, "temperature": 0}
    )


LIMITS = {
    f"CHATQ_PROVIDERS__{PROVIDER.upper()}__LIMITS__{name}": value
    for name, value in {"RPM": "10000000", "TPM": "100000000000", "CONCURRENCY": "1000000"}.items()
}
"""On, and too high to matter: the figures are those of a limited provider."""


class Lab:
    """Starts and stops the processes of one measurement. A context manager.

    Args:
        latency_s: How long the upstream takes.
        is_pinned: Each process on the core that it is given, so that one has a core to itself. Else the kernel
            places them: for single calls, where pinned ones would wait for each other beside an idle core.
        env: Further variables of chatq's.
    """

    def __init__(
        self, *, latency_s: float = 0.0, is_pinned: bool = True, env: Mapping[str, str] | None = None
    ) -> None:
        self._stack = ExitStack()
        self._latency_s = latency_s
        self._is_pinned = is_pinned
        self._extra = dict(env or {})

    def __enter__(self) -> Lab:
        os.sched_setaffinity(0, {OTHER_CORE} if self._is_pinned else CORES)
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="chatq-bench-")))
        server = self._stack.enter_context(EmbeddedServer(self.folder / "redis"))
        self.redis_url = server.url
        self.redis = redis.Redis(unix_socket_path=str(server.socket), decode_responses=True, protocol=2)
        self._stack.callback(self.redis.close)
        self.upstream = self.start_upstream("upstream", "--latency", str(self._latency_s))
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "CHATQ_REDIS_URL": server.url,
            f"CHATQ_PROVIDERS__{PROVIDER.upper()}__WIRE": "openai",
            f"CHATQ_PROVIDERS__{PROVIDER.upper()}__BASE_URL": f"{self.upstream}/v1",
            **LIMITS,
            "CHATQ_LOG__LEVEL": "warning",
            **self._extra,
        }
        self.reload({})
        return self

    def reload(self, env: Mapping[str, str]) -> None:
        """Add to the environment that processes and settings are made from."""
        self.env |= env
        self.settings: Settings = load_settings(env=self.env)
        self.registry = ProviderRegistry.from_settings(self.settings, env=self.env)

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def start_upstream(self, name: str, *options: str) -> str:
        """A simulator of its own process, ended with the laboratory. Returns its address."""
        ready = self.folder / f"{name}.url"
        command = ["-m", "simulator", "--port", "0", "--ready-file", str(ready), *options]
        self.spawn(command, core=OTHER_CORE, env=dict(os.environ))
        give_up_at = time.monotonic() + 20
        while not ready.exists():
            if time.monotonic() > give_up_at:
                raise TimeoutError("the simulator did not start")
            time.sleep(0.02)
        return ready.read_text().strip()

    def spawn(
        self,
        arguments: Sequence[str],
        *,
        core: int,
        env: Mapping[str, str] | None = None,
        python: str = sys.executable,
    ) -> subprocess.Popen[bytes]:
        """A Python process on one core, ended with the laboratory."""
        process = subprocess.Popen([python, *arguments], env=dict(env or self.env))
        if self._is_pinned:
            os.sched_setaffinity(process.pid, {core})
        self._stack.callback(_end, process)
        return process

    def worker(
        self, *, concurrency: int, providers: Sequence[str] = (PROVIDER,), core: int = WORKER_CORE
    ) -> subprocess.Popen[bytes]:
        """A worker on its core, once it is registered and listening."""
        known = self.redis.scard("rq:workers")
        process = self.spawn(
            ["-m", "worker", "--providers", ",".join(providers), "--concurrency", str(concurrency)], core=core
        )
        give_up_at = time.monotonic() + 20
        while self.redis.scard("rq:workers") == known:
            if time.monotonic() > give_up_at or process.poll() is not None:
                raise TimeoutError("the worker did not start")
            time.sleep(0.01)
        return process

    def api(self, *, core: int = WORKER_CORE) -> tuple[subprocess.Popen[bytes], str]:
        """An API process on a core, once it answers, and its address."""
        port = self.free_port()
        process = self.spawn(["-m", "producer", "api", "--bind", f"127.0.0.1:{port}"], core=core)
        address = f"http://127.0.0.1:{port}"
        self.until_answers(f"{address}/health", process)
        return process, address

    def free_port(self) -> int:
        """A port of the loopback interface that nobody listens at."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            return int(free.getsockname()[1])

    def until_answers(self, url: str, process: subprocess.Popen[bytes], *, timeout_s: float = 20) -> None:
        """Wait until a server says 200.

        Raises:
            TimeoutError: It does not, or its process has ended.
        """
        give_up_at = time.monotonic() + timeout_s
        while not _answers(url):
            if time.monotonic() > give_up_at or process.poll() is not None:
                raise TimeoutError(f"nothing answers at {url}")
            time.sleep(0.05)

    def hold(self) -> None:
        """Keep workers from claiming, with RQ's own switch."""
        self.redis.set("rq:suspended", 1)

    def let_go(self, *providers: str) -> None:
        """Let them claim, and say so."""
        self.redis.delete("rq:suspended")
        for provider in providers or (PROVIDER,):
            self.redis.publish("chatq:wake", f"{provider}.batch")

    async def until_completed(self, count: int, *, timeout_s: float) -> float:
        """Seconds from now until so many more jobs have completed; counts results, not signals.

        Raises:
            RuntimeError: Any job ended otherwise.
        """
        started = time.perf_counter()
        async with asyncio.timeout(timeout_s):
            while True:
                totals = {k: int(v) for k, v in self.redis.hgetall("chatq:totals").items()}
                if failed := {
                    k: n
                    for k, n in totals.items()
                    if k in ("failed", "expired", "stale", "gone", "rescued", "salvaged", "broken")
                }:
                    raise RuntimeError(f"jobs were lost on the way: {failed}")
                if totals.get("completed", 0) >= count:
                    return time.perf_counter() - started
                await asyncio.sleep(0.01)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=1).status_code == 200
    except httpx.TransportError:
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def body() -> bytes:
    """The request as it goes over the wire, for the loops without chatq."""
    return orjson.dumps({**request().body(), "model": "small", "stream": False})
