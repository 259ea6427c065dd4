"""`chatq route`, `providers` and `models`; and chatd's acceptance as the command line shows it."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from shared.settings import BUILTIN_PROVIDERS

from .conftest import RunChatq

SECRET = "sk-seeded-secret-0123456789"


def test_route_prints_the_documented_json(run_chatq: RunChatq) -> None:
    """One line, exactly these keys."""
    result = run_chatq("route", "openrouter/a/b", "--lane", "batch", "--json", OPENROUTER_API_KEY=SECRET)
    assert result.exit_code == 0
    assert orjson.loads(result.stdout) == {
        "requested": "openrouter/a/b",
        "tier": None,
        "provider": "openrouter",
        "upstream_model": "a/b",
        "queue": "openrouter.batch",
        "candidates": [{"provider": "openrouter", "model": "a/b"}],
        "reason": "prefix 'openrouter' names a provider",
    }
    assert result.stdout.count("\n") == 1


def test_route_explains_to_people(run_chatq: RunChatq) -> None:
    """The same as aligned lines."""
    assert run_chatq("route", "local_fast").stdout.splitlines() == [
        "requested       local_fast",
        "tier            local_fast",
        "provider        ollama",
        "upstream_model  qwen3.5:latest",
        "queue           ollama.default",
        "reason          tier 'local_fast' is 'qwen3.5:latest'; bare name, default provider 'ollama'",
    ]


def test_route_lists_all_candidates(run_chatq: RunChatq) -> None:
    """In order, each once; the rest is of the first."""
    args = ("route", "m", "--fallback", "openrouter/a/b", "--fallback", "ollama/m", "--fallback", "ollama/n")
    result = run_chatq(*args, "--json", OPENROUTER_API_KEY=SECRET)
    found = orjson.loads(result.stdout)
    assert [(one["provider"], one["model"]) for one in found["candidates"]] == [
        ("ollama", "m"), ("openrouter", "a/b"), ("ollama", "n"),
    ]  # fmt: skip
    assert (found["requested"], found["queue"]) == ("m", "ollama.default")
    lines = run_chatq(*args, OPENROUTER_API_KEY=SECRET).stdout.splitlines()
    assert lines[-1] == "candidates      ollama: m, then openrouter: a/b, then ollama: n"


def test_fallback_that_leads_nowhere_is_refused(run_chatq: RunChatq) -> None:
    """A fallback that is off would be none."""
    result = run_chatq("route", "m", "--fallback", "openrouter/x")
    assert (result.exit_code, result.stdout) == (4, "")
    assert "provider 'openrouter' is not registered" in result.stderr


@pytest.mark.parametrize(
    ("model", "exit_code", "words"),
    [
        ("kimi-k2.6:cloud", 4, "provider 'ollama_cloud' is not registered; no key: set OLLAMA_CLOUD_KEY"),
        ("frontier_review", 4, "provider 'openrouter' is not registered; no key: set OPENROUTER_API_KEY"),
        ("", 2, "names no model"),
        ("ollama/", 2, "names no model"),
    ],
)
def test_route_that_leads_nowhere_is_refused(
    run_chatq: RunChatq, model: str, exit_code: int, words: str
) -> None:
    """One line on standard error, nothing on standard output, and the documented exit code."""
    result = run_chatq("route", model, "--json")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (exit_code, "", 1)
    assert result.stderr.startswith("chatq: model ")
    assert words in result.stderr


def test_providers_are_listed_exactly_as_registered(run_chatq: RunChatq) -> None:
    """All that is configured, on or off, with the key's origin and never the key."""
    result = run_chatq("providers", "--json", KIMI_API_KEY=SECRET)
    rows = {row["name"]: row for row in orjson.loads(result.stdout)}
    assert [name for name, row in rows.items() if row["registered"]] == ["ollama", "kimi"]
    assert list(rows) == list(BUILTIN_PROVIDERS)
    assert rows["kimi"] == {
        "name": "kimi",
        "wire": "openai",
        "base_url": "https://api.kimi.com/coding/v1",
        "registered": True,
        "key_origin": "env KIMI_API_KEY",
        "reason": None,
    }
    assert rows["opencode"]["reason"].startswith("no key: set OPENCODE_API_KEY, or put ")
    assert SECRET not in result.output


def test_providers_table_is_plain_in_a_pipe(run_chatq: RunChatq) -> None:
    """Aligned columns, whole values, no drawing."""
    lines = run_chatq("providers", KIMI_API_KEY=SECRET).stdout.splitlines()
    assert lines[0].split() == ["provider", "wire", "base_url", "registered", "key", "or", "reason"]
    assert lines[1].split() == ["ollama", "ollama", "http://localhost:11434", "yes", "key:", "none", "needed"]
    assert len(lines) == 1 + len(BUILTIN_PROVIDERS)


def test_models_say_where_each_tier_leads(run_chatq: RunChatq) -> None:
    """Weak ones are marked; those that cannot be used say why."""
    rows = {row["tier"]: row for row in orjson.loads(run_chatq("models", "--json").stdout)}
    assert rows["local_fast"] == {
        "tier": "local_fast",
        "model": "qwen3.5:latest",
        "weak": True,
        "provider": "ollama",
        "upstream_model": "qwen3.5:latest",
        "error": None,
    }
    cloud = rows["cloud_judge"]
    assert (cloud["weak"], cloud["provider"], cloud["upstream_model"]) == (False, "ollama_cloud", None)
    assert "set OLLAMA_CLOUD_KEY" in cloud["error"]


def test_weak_model_is_marked_behind_a_prefix(run_chatq: RunChatq) -> None:
    """It is as weak when the provider is named."""
    result = run_chatq("models", "--json", CHATQ_MODELS__MINE="ollama/qwen3:latest")
    assert next(row["weak"] for row in orjson.loads(result.stdout) if row["tier"] == "mine")


def test_models_table_shows_what_is_off(run_chatq: RunChatq) -> None:
    """A tier that cannot be used is told in few words; `providers` has the reason."""
    lines = run_chatq("models", CHATQ_MODELS__HOLLOW="ollama/").stdout.splitlines()
    rows = {line.split()[0]: line for line in lines}
    assert rows["cloud_judge"].endswith("ollama_cloud is off, see `chatq providers`")
    assert rows["local_fast"].endswith("weak  ollama: qwen3.5:latest")
    assert "names no model" in rows["hollow"]


def test_broken_settings_exit_with_their_code(run_chatq: RunChatq, tmp_path: Path) -> None:
    """No command starts on settings that are wrong."""
    (tmp_path / "chatq.toml").write_text("[worker]\nconcurrency = 0\n")
    result = run_chatq("route", "x")
    assert result.exit_code == 3
    assert result.stderr == (
        "chatq: chatq.toml: worker.concurrency is 0; allowed: a whole number from 1 to 20000\n"
    )
