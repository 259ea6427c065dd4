"""A running chatq for clients: `chatq up` in a process of its own, and a provider behind it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.ports import reserved_port
from tests.support import ROOT, provider_env

CHATQ = str(Path(sys.executable).with_name("chatq"))

START_LIMIT_S = 30.0

WEBHOOK_SECRET = "whsec_dGVzdC1zZWNyZXQtb2YtY2hhdHE="

SETTINGS = {
    "CHATQ_JOBS__BACKOFF_BASE_S": "0.01",
    "CHATQ_JOBS__BACKOFF_MAX_S": "0.1",
    "CHATQ_BREAKER__MIN_CALLS": "10000",
    "CHATQ_BREAKER__CREDENTIAL_OPEN_S": "0.05",
    "CHATQ_WEBHOOKS__SECRET": WEBHOOK_SECRET,
    "CHATQ_WEBHOOKS__ALLOW_PRIVATE": "true",
    "CHATQ_WEBHOOKS__FIRST_BACKOFF_S": "0.05",
}
"""Failures are asked for here all the time: they must neither take long nor close a provider for other tests."""


class Upstream:
    """The provider: the simulator, and what it was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url, timeout=10)

    def close(self) -> None:
        self._http.close()

    def calls(self, text: str) -> list[dict[str, Any]]:
        """Calls so far for a model whose name holds this text, oldest first."""
        lines = self._http.get("/_sim/log").raise_for_status().text.splitlines()
        records: list[dict[str, Any]] = [json.loads(line) for line in lines]
        return [record for record in records if text in str(record["model"])]


class Served:
    """What a client is given.

    Attributes:
        url: The API's address, without `/v1`.
        upstream: The provider behind it.
        folder: Logs of its processes, and the files of its batches.
        env: The environment it runs in, for commands on the same Redis.
    """

    def __init__(self, url: str, upstream: Upstream, folder: Path, env: Mapping[str, str]) -> None:
        self.url = url
        self.upstream = upstream
        self.folder = folder
        self.env = dict(env)

    @property
    def base_url(self) -> str:
        """As OpenAI's clients want it."""
        return f"{self.url}/v1"

    def log(self) -> str:
        """What its processes wrote."""
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("*.log")))


@contextmanager
def serve(folder: Path, models: str = "", **settings: str) -> Iterator[Served]:
    """Start it all; end it, the way an operator does, and see that it ends well.

    Args:
        models: The only ones that the provider knows, with commas between; empty: any.
        settings: More variables of chatq's.
    """
    with ExitStack() as stack:
        upstream = Upstream(stack.enter_context(_simulator(folder, models)))
        stack.callback(upstream.close)
        bind = f"127.0.0.1:{stack.enter_context(reserved_port())}"
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "OPENAI_API_KEY": "test-key-openai",
            "CHATQ_PROVIDERS__OPENAI__BASE_URL": f"{upstream.url}/v1",
            **provider_env(upstream.url),
            **SETTINGS,
            **settings,
        }
        stack.enter_context(_process(folder, "up", (CHATQ, "up", "--bind", bind), env))
        served = Served(f"http://{bind}", upstream, folder, env)
        _until(lambda: _answers(f"{served.url}/ready"), served.log)
        yield served


@contextmanager
def _simulator(folder: Path, models: str) -> Iterator[str]:
    ready = folder / "simulator.url"
    command = [sys.executable, "-m", "simulator", "--port", "0", "--ready-file", str(ready)]
    if models:
        command += ["--models", models]
    with _process(folder, "simulator", command, {"PATH": os.environ["PATH"]}):
        _until(ready.exists, (folder / "simulator.log").read_text)
        yield ready.read_text().strip()


@contextmanager
def _process(folder: Path, name: str, command: Sequence[str], env: Mapping[str, str]) -> Iterator[None]:
    with (folder / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            command, env=dict(env), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            code = process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
    assert code == 0, f"{name} ended with {code}:\n{(folder / f'{name}.log').read_text()[-3000:]}"


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=1).status_code == 200
    except httpx.HTTPError:
        return False


def _until(is_true: Callable[[], bool], log: Callable[[], str]) -> None:
    give_up_at = time.monotonic() + START_LIMIT_S
    while not is_true():
        if time.monotonic() > give_up_at:
            raise RuntimeError(f"it does not start:\n{log()[-3000:]}")
        time.sleep(0.02)
