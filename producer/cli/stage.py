"""The stage of the demo: simulated providers, settings that lead to them, and a folder for the state."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from producer.cli.context import CliContext
from shared.errors import ConfigError

READY_LIMIT_S = 20.0
"""How long the simulator may take to open its port."""

SIMULATOR = (
    sys.executable, "-m", "simulator", "--until-eof",
    "--port", "0", "--seed", "7", "--latency", "lognormal:0.3,0.5",
)  # fmt: skip
"""Answers like a provider on a good day, and ends with whoever started it, even by kill -9."""

DEMO_KEYS = {"OLLAMA_CLOUD_KEY": "demo", "OPENROUTER_API_KEY": "demo"}


@contextmanager
def stage(env: Mapping[str, str], *faults: str) -> Iterator[CliContext]:
    """A simulator at work, and the context of commands that play on it; nothing is left of it at the end.

    Args:
        faults: Further options of the simulator.

    Raises:
        ConfigError: The simulator does not start.
    """
    # Unasked ends must take the simulator along, like Ctrl-C does.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="chatq-demo-"))
    try:
        with _simulator(folder, env, faults) as url:
            config = folder / "chatq.toml"
            config.write_text(_settings(url, folder), encoding="utf-8")
            yield CliContext(env=_env(env), config_path=config)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _simulator(folder: Path, env: Mapping[str, str], faults: Sequence[str]) -> Iterator[str]:
    """A simulator on a free port, ended whatever happens; its URL.

    Raises:
        ConfigError: It does not start.
    """
    ready, log = folder / "simulator.url", folder / "simulator.log"
    with log.open("wb") as sink:
        # A session of its own: Ctrl-C is for the run, which lets running calls finish before this ends.
        process = subprocess.Popen(
            [*SIMULATOR, *faults, "--ready-file", str(ready)],
            env=dict(env), stdin=subprocess.PIPE, stdout=sink, stderr=sink, start_new_session=True,
        )  # fmt: skip
    try:
        give_up_at = time.monotonic() + READY_LIMIT_S
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > give_up_at:
                words = " ".join(log.read_text(errors="replace").split())[-500:]
                raise ConfigError(f"the simulator does not start: {words}")
            time.sleep(0.02)
        yield ready.read_text().strip()
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _settings(url: str, folder: Path) -> str:
    """Every provider at the simulator, state in the folder, and leases so short that a killed worker is no wait.

    One name in the examples is a group: a selector rates its prompts, and they go to three models.
    """
    return f"""
[redis]
data_dir = "{folder}"
[worker]
lease_s = 4.0
renew_s = 1.0
[providers.ollama]
base_url = "{url}/ollama"
[providers.ollama_cloud]
base_url = "{url}/ollama_cloud"
[providers.openrouter]
base_url = "{url}/openrouter/v1"
[providers.opencode]
base_url = ""
[providers.kimi]
base_url = ""
[groups."auto:smart"]
strategy = "classifier"
selector = "openrouter/openai/gpt-5.4-nano"
complexity_threshold = 10
targets = ["ollama/qwen3.5:latest", "ollama_cloud/deepseek-v3.2", "openrouter/anthropic/claude-sonnet-4.5"]
"""


def _env(env: Mapping[str, str]) -> dict[str, str]:
    """The environment without anybody's real settings and keys."""
    return {name: value for name, value in env.items() if not name.startswith("CHATQ_")} | DEMO_KEYS
