"""One running chatq for all of these tests, and OpenAI's client of it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.clients.served import Served, serve


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    """Shared: a test uses models, files and batches of its own."""
    with tempfile.TemporaryDirectory(prefix="chatq-served-") as folder, serve(Path(folder)) as running:
        yield running


@pytest.fixture
def client(served: Served) -> Iterator[openai.OpenAI]:
    """Without retries of its own, so that each answer is seen."""
    with openai.OpenAI(base_url=served.base_url, api_key="any", max_retries=0, timeout=30) as opened:
        yield opened
