"""Every row of the error table, against answers shaped as the providers send them (docs/provider-wire.md §17)."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest

from shared.errors import OWN_WAIT_S, FieldRefused, RateLimited, UpstreamError
from shared.settings import Wire
from worker.classify import classify
from worker.dialect import Dialect, dialect_of
from worker.error_answer import ErrorAnswer, read_error
from worker.error_table import ERROR_TABLE, Row, fitting_row

NOW_S = 1_763_700_000.0  # Fri, 21 Nov 2025 04:40:00 GMT
FIXTURES = Path(__file__).parent / "fixtures" / "errors"

PROVIDERS: dict[str, tuple[Wire, str]] = {
    "ollama": ("ollama", "http://localhost:11434"),
    "ollama_cloud": ("ollama_generate", "https://ollama.com"),
    "openrouter": ("openai", "https://openrouter.ai/api/v1"),
    "opencode": ("openai", "https://opencode.ai/zen/v1"),
    "kimi": ("openai", "https://api.kimi.com/coding/v1"),
    "moonshot": ("openai", "https://api.moonshot.ai/v1"),
    "openai": ("openai", "https://api.openai.com/v1"),
    "gemini": ("gemini", "https://generativelanguage.googleapis.com/v1beta"),
    "deepseek": ("openai", "https://api.deepseek.com"),
    "xai": ("openai", "https://api.x.ai/v1"),
    "mimo": ("openai", "https://token-plan-sgp.xiaomimimo.com/v1"),
    "anthropic": ("anthropic", "https://api.anthropic.com/v1"),
    "vllm": ("openai", "http://10.0.0.1:8000/v1"),
    "sglang": ("openai", "http://10.0.0.1:30000/v1"),
    "llama_cpp": ("openai", "http://10.0.0.1:8080/v1"),
    "llama_swap": ("openai", "http://10.0.0.1:8080/v1"),
    "lm_studio": ("openai", "http://127.0.0.1:1234/v1"),
    "tgi": ("openai", "http://10.0.0.1:3000/v1"),
    "unknown": ("openai", "https://llm.example/v1"),
}
"""Where each file's answers come from."""

Case = tuple[Dialect, dict[str, Any]]


@cache
def recorded() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for path in sorted(FIXTURES.glob("*.jsonl")):
        dialect = dialect_of(*PROVIDERS[path.stem])
        for number, line in enumerate(path.read_bytes().splitlines(), start=1):
            case = orjson.loads(line)
            cases[f"{path.stem}:{number} {case['row']}"] = (dialect, case)
    return cases


def body_of(case: dict[str, Any]) -> bytes:
    """A body is JSON, or text as it came."""
    body = case["body"]
    return body.encode() if isinstance(body, str) else orjson.dumps(body)


def stated(error: UpstreamError) -> dict[str, Any]:
    """What a fixture expects of an error, as the error has it."""
    facts = {
        "kind": type(error).__name__,
        "scope": error.scope,
        "code": error.code,
        "retry_after_s": None if error.retry_after_s is None else pytest.approx(error.retry_after_s),
        "wait_range_s": list(error.wait_range_s),
    }
    if isinstance(error, RateLimited):
        facts |= {"dimension": error.dimension, "limit": error.limit}
    if isinstance(error, FieldRefused):
        facts["fields"] = sorted(error.fields)
    return facts


@pytest.mark.parametrize("name", recorded())
def test_recorded_answer_has_its_meaning(name: str) -> None:
    """Class, scope, code and wait of each answer are those of its row in provider-wire.md §17."""
    dialect, case = recorded()[name]
    error = classify(case["status"], case["headers"], body_of(case), now_s=NOW_S, dialect=dialect)
    expected = {"wait_range_s": list(OWN_WAIT_S), **case}
    for field in ("row", "status", "headers", "body"):
        del expected[field]
    assert stated(error) == expected


def test_every_provider_is_recorded() -> None:
    """No file without a provider, no provider without a file."""
    assert {path.stem for path in FIXTURES.glob("*.jsonl")} == PROVIDERS.keys()


def where(row: Row) -> str:
    patterns = " and ".join(pattern.pattern for pattern in row.patterns)
    return f"{row.statuses} {patterns!r} -> {row.means.code}"


def test_every_row_is_met_by_a_recorded_answer() -> None:
    """A row that no recorded answer reaches is dead, or stands behind one that hides it."""
    met = {
        fitting_row(dialect, read_error(case["status"], case["headers"], body_of(case), now_s=NOW_S))
        for dialect, case in recorded().values()
    }
    rows = {row for table in ERROR_TABLE.values() for row in table}
    assert sorted(where(row) for row in rows - met) == []


@pytest.mark.parametrize("dialect", ERROR_TABLE)
def test_every_status_has_a_row(dialect: Dialect) -> None:
    """Whatever number comes, there is a last word on it."""
    for status in (200, *range(300, 1000)):
        assert fitting_row(dialect, ErrorAnswer(status, "", "", None))
