"""Running `chatq` in this process, away from the settings and keys of the machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from producer.cli.main import cli

RunChatq = Callable[..., Result]


@pytest.fixture
def run_chatq(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunChatq:
    """Run a command line in an empty folder; keyword arguments are variables."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("CHATQ_") or name.endswith(("_KEY", "_API_KEY")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("OLLAMA_CLOUD", "OPENROUTER", "OPENCODE", "KIMI"):
        monkeypatch.setenv(f"CHATQ_PROVIDERS__{name}__KEY_FILE", str(tmp_path / f"{name.lower()}.env"))

    def run(*args: str, **env: str) -> Result:
        return CliRunner().invoke(cli, args, env=env, prog_name="chatq")

    return run
