"""inspect-ai runs its evals through chatq: plain, and as batches, which it validates strictly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.served import Served
from tests.support import ROOT

QUESTIONS = 6


@pytest.mark.timeout(120)
def test_evals_succeed(served: Served, tmp_path: Path) -> None:
    """Every sample is answered and scored, and asked once."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "CHATQ_BASE_URL": served.base_url,
        "CHATQ_API_KEY": "any",
    }
    command = [sys.executable, "-m", "tests.clients.api.inspect_eval", str(tmp_path), str(QUESTIONS)]
    done = subprocess.run(
        command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    success = {"status": "success", "accuracy": 1.0, "error": None}
    assert found == {"plain": success, "batch": success, "responses batch": success}
    calls = {name: len(served.upstream.calls(f"inspect-{name}")) for name in ("plain", "batch", "responses")}
    # Before its first responses it asks once for one with a summary of its reasoning, to see whether that works.
    assert calls == {"plain": QUESTIONS, "batch": QUESTIONS, "responses": QUESTIONS + 1}
