"""chatd's six acceptance points over HTTP: the script passes, and would not if they were broken."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.served import Served, serve
from tests.support import ROOT

SCRIPT = ROOT / "tests" / "clients" / "chatd.sh"


@pytest.fixture(scope="module")
def with_few_models() -> Iterator[Served]:
    """Its provider has the models that the script asks for, and no others."""
    models = "qwen3.5,openai/gpt-5,gpt-oss:120b,kimi-k2.6"
    with tempfile.TemporaryDirectory(prefix="chatq-chatd-") as folder, serve(Path(folder), models) as running:
        yield running


def run(url: str) -> subprocess.CompletedProcess[str]:
    assert shutil.which("curl"), "the script needs curl"
    return subprocess.run([str(SCRIPT), url], capture_output=True, text=True, timeout=55, check=False)


def test_script_passes(with_few_models: Served) -> None:
    """Every line says ok."""
    done = run(with_few_models.url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line for line in done.stdout.splitlines() if not line.startswith("ok ")] == []
    assert len(done.stdout.splitlines()) == 14


def test_script_sees_what_is_wrong(served: Served) -> None:
    """Here any model is known, so one point fails."""
    done = run(served.url)
    assert done.returncode == 1
    assert [line[:30] for line in done.stdout.splitlines() if not line.startswith("ok ")] == [
        "FAILED an unknown model is the"
    ]
