"""`chatq demo` and the prompts it runs."""

from __future__ import annotations

import json
import signal
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from producer.batch.lines import open_input, read_lines
from producer.batch.reader import Line, parse_line
from shared.providers import ProviderRegistry
from shared.routing import Router
from shared.settings import Settings
from tests.support import ROOT, wait_until

from .process import Chatq, finished

PROMPTS = ROOT / "examples" / "prompts.jsonl"


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder for temporary files with a short path: sockets are made in it, and theirs are limited."""
    with tempfile.TemporaryDirectory(prefix="chatq-demo-test-") as folder:
        yield Path(folder)


@pytest.fixture
async def chatq(tmp_path: Path, short: Path) -> AsyncIterator[Chatq]:
    """With all temporary files in a folder of the test's, and settings of the user's that must not matter."""
    env = {
        "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path), "TMPDIR": str(short),
        "CHATQ_REDIS_URL": "redis://127.0.0.1:1", "CHATQ_PROVIDERS__OLLAMA__BASE_URL": "",
        "OPENROUTER_API_KEY": "a real key",
    }  # fmt: skip
    chatq = Chatq(tmp_path, env)
    yield chatq
    await chatq.stop_all()


def left_behind(folder: Path) -> list[Any]:
    """Temporary files, and processes that know the folder."""
    processes = [p.info["cmdline"] for p in psutil.process_iter(["cmdline", "environ"])
                 if str(folder) in f"{p.info['cmdline']} {(p.info['environ'] or {}).get('TMPDIR')}"]  # fmt: skip
    return [*folder.iterdir(), *processes]


def example_lines() -> list[Line]:
    with open_input(PROMPTS) as source:
        lines = [parse_line(raw, model=None) for raw in read_lines(source, max_bytes=100_000)]
    good = [line for line in lines if isinstance(line, Line)]
    assert len(good) == len(lines)
    return good


async def test_demo_answers_every_prompt(chatq: Chatq, tmp_path: Path, short: Path) -> None:
    """A results file, a table, two lines on what to do next; nothing stays behind."""
    done = await chatq.run("demo", "--input", str(PROMPTS))
    assert done.code == 0, done.err
    records = [json.loads(line) for line in (tmp_path / "out" / "demo.jsonl").read_text().splitlines()]
    assert {record["custom_id"] for record in records} == {line.custom_id for line in example_lines()}
    assert done.out.splitlines()[-2].startswith("Look at the answers:")
    assert left_behind(short) == []


async def test_interrupted_demo_takes_everything_along(chatq: Chatq, tmp_path: Path, short: Path) -> None:
    """Simulator, worker and Redis end with it."""
    process = await chatq.start("demo", "--input", str(PROMPTS))
    output = tmp_path / "out" / "demo.jsonl"
    await wait_until(lambda: output.exists() and output.stat().st_size > 0)
    process.send_signal(signal.SIGINT)
    assert (await finished(process)).code == 130
    assert left_behind(short) == []


async def test_demo_outside_a_clone_says_so(chatq: Chatq) -> None:
    """The prompts are not part of the package."""
    done = await chatq.run("demo")
    assert done.code == 2
    assert "run this in a clone of the repository, or give --input" in done.err


def test_examples_are_many_and_distinct() -> None:
    """At least 300, no two alike, in all forms of input."""
    lines = [json.loads(line) for line in PROMPTS.read_text().splitlines()]
    requests = [json.dumps({k: v for k, v in line.items() if k not in ("id", "custom_id")}) for line in lines]
    assert len(set(requests)) == len(lines) >= 300
    assert {key for line in lines for key in line} >= {"body", "prompt", "messages"}


def test_examples_go_to_three_providers(settings: Settings, registry: ProviderRegistry) -> None:
    """Each with a good share, bare names, the `:cloud` suffix and tiers among them."""
    router = Router.from_settings(settings, registry)
    routes = [router.resolve(line.body["model"]) for line in example_lines()]
    providers = Counter(route.provider for route in routes)
    assert set(providers) == {"ollama", "ollama_cloud", "openrouter"}
    assert min(providers.values()) >= 50
    assert len({route.tier for route in routes}) >= 5
    assert any(line.body["model"].endswith(":cloud") for line in example_lines())
