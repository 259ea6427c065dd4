"""`chatq config check`: what is on, where keys came from, what looks wrong, and never a key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from .conftest import RunChatq

SECRET = "sk-seeded-secret-0123456789"


def report_of(run_chatq: RunChatq, text: str = "", **env: str) -> dict[str, Any]:
    Path("chatq.toml").write_text(text)
    result = run_chatq("config", "check", "--json", **env)
    report: dict[str, Any] = orjson.loads(result.stdout)
    assert result.exit_code == (0 if report["ok"] else 3)
    assert SECRET not in result.output
    return report


def findings_at(report: dict[str, Any], where: str) -> list[tuple[str, str]]:
    return [(item["level"], item["message"]) for item in report["findings"] if item["where"] == where]


def test_defaults_are_usable(run_chatq: RunChatq) -> None:
    """A fresh machine: local Ollama on, embedded Redis, tiers of other providers named."""
    report = report_of(run_chatq)
    assert report["ok"] is True
    assert (report["file"], report["redis"], report["default_provider"]) == ("chatq.toml", None, "ollama")
    assert findings_at(report, "models.cloud_judge") == [
        ("warning", "'kimi-k2.6:cloud' cannot be sent: ollama_cloud is off, see `chatq providers`")
    ]
    assert findings_at(report, "redis.url")[0][0] == "info"


def test_origin_of_each_key_is_told(run_chatq: RunChatq, tmp_path: Path) -> None:
    """Environment or file by name; for those without one, what to set."""
    file = tmp_path / "openrouter.env"
    file.write_text(f"export OPENROUTER_API_KEY='{SECRET}'\n")
    file.chmod(0o600)
    report = report_of(run_chatq, KIMI_API_KEY=SECRET)
    rows = {row["name"]: row for row in report["providers"]}
    assert rows["kimi"]["key_origin"] == "env KIMI_API_KEY"
    assert rows["openrouter"]["key_origin"] == f"file {file}"
    assert rows["opencode"]["reason"].startswith("no key: set OPENCODE_API_KEY")


def test_no_secret_is_printed_anywhere(run_chatq: RunChatq, tmp_path: Path) -> None:
    """Keys, token, Redis password and credential headers, as JSON and for people."""
    (tmp_path / "kimi.env").write_text(f"KIMI_API_KEY={SECRET}")
    Path("chatq.toml").write_text(
        f"""
        [redis]
        url = "redis://user:{SECRET}@redis.internal:6379/0"
        [auth]
        token = "{SECRET}"
        [providers.lab]
        base_url = "http://10.0.0.1/v1"
        headers = {{ Authorization = "Bearer {SECRET}", X-Title = "shown" }}
        extra_body = {{ api_key = "{SECRET}" }}
        """
    )
    as_json = run_chatq("config", "check", "--json", OPENROUTER_API_KEY=SECRET)
    for_people = run_chatq("config", "check", OPENROUTER_API_KEY=SECRET)
    for result in (as_json, for_people):
        assert result.exit_code == 0
        assert SECRET not in result.output
        assert "redis://redis.internal:6379/0" in result.stdout
    assert '"X-Title":"shown"' in as_json.stdout


@pytest.mark.parametrize(
    ("text", "where", "level", "message"),
    [
        (
            '[providers.ollama]\nbase_url = ""\n[providers.lab]\nbase_url = "http://127.0.0.1"',
            "routing.default_provider",
            "warning",
            "'ollama' is off, so bare model names are refused; "
            "switched off by an empty base_url: set [providers.ollama] base_url",
        ),
        (
            '[providers.ollama]\nbase_url = ""',
            "providers",
            "error",
            "no provider is registered, so no job can be sent",
        ),
        (
            '[worker]\nproviders = ["lab"]\n[providers.lab]\nkey_env = "LAB"\nbase_url = "http://lab"',
            "worker.providers",
            "warning",
            "'lab' is off; no key: set LAB",
        ),
        (
            '[providers.lab]\nbase_url = "http://lab.example/v1"\nkey_env = "TEST_SECRET"',
            "providers.lab.base_url",
            "warning",
            "a key is sent unencrypted to another machine: use https://",
        ),
        (
            '[providers.lab]\nbase_url = "http://10.0.0.1"\nheaders = { X-Api-Key = "a" }',
            "providers.lab.base_url",
            "warning",
            "a key is sent unencrypted to another machine: use https://",
        ),
        (
            '[providers.twin]\nbase_url = "http://localhost:11434"',
            "providers.twin",
            "warning",
            "same address and key as 'ollama': two names for one account, limits count apart; "
            'set account = "ollama"',
        ),
        (
            '[providers.ollama]\nlimits = { rpm = 60 }\nmodels."a:b".limits = { rpm = 1_600 }',
            'providers.ollama.models."a:b".limits.rpm',
            "warning",
            "1,600 is above the account's limit of 60, so it never applies",
        ),
        (
            '[providers.ollama]\nlimits = { rpm = 60, charge = "prompt_then_output" }',
            "providers.ollama.limits.charge",
            "warning",
            "says how tokens are counted, but there is no tpm to count them against",
        ),
        (
            '[providers.ollama]\nlimits = { tpm = 60 }\nmodels.m.limits = { charge = "max(prompt,max)" }',
            "providers.ollama.models.m.limits.charge",
            "warning",
            "says how tokens are counted, but there is no tpm to count them against",
        ),
        (
            "[providers.ollama]\nconnect_timeout_s = 180",
            "providers.ollama.connect_timeout_s",
            "warning",
            "180 s is not below timeout_s (180 s), so it never applies",
        ),
        (
            "[providers.ollama]\ntimeout_s = 2\nconnect_timeout_s = 1",
            "providers.ollama.timeout_s",
            "warning",
            "2 s is short: few models answer in that time, and each try is billed",
        ),
    ],
)
def test_what_looks_wrong_is_found(
    run_chatq: RunChatq, text: str, where: str, level: str, message: str
) -> None:
    """Each suspicion names the key and says what follows from it."""
    report = report_of(run_chatq, text, TEST_SECRET=SECRET)
    assert findings_at(report, where) == [(level, message)]
    assert report["ok"] is (level != "error")


@pytest.mark.parametrize(
    "base_url", ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1", "https://lab.example"]
)
def test_loopback_and_https_are_fine_with_keys(run_chatq: RunChatq, base_url: str) -> None:
    """A key that stays on the machine, or goes encrypted, is no finding."""
    text = f'[providers.lab]\nbase_url = "{base_url}"\nkey_env = "TEST_SECRET"'
    assert findings_at(report_of(run_chatq, text, TEST_SECRET=SECRET), "providers.lab.base_url") == []


def test_open_key_file_is_found(run_chatq: RunChatq, tmp_path: Path) -> None:
    """A key that others on the machine can read is worth a line."""
    file = tmp_path / "kimi.env"
    file.write_text(f"KIMI_API_KEY={SECRET}")
    file.chmod(0o644)
    assert findings_at(report_of(run_chatq), "providers") == [
        ("warning", f"others than the owner can read {file}: chmod 600 {file}")
    ]


def test_missing_file_is_a_finding(run_chatq: RunChatq) -> None:
    """Usable all the same: defaults apply."""
    result = run_chatq("--config", "gone.toml", "config", "check", "--json")
    report = orjson.loads(result.stdout)
    assert (result.exit_code, result.stderr, report["file"]) == (0, "", None)
    assert findings_at(report, "file") == [("warning", "gone.toml (--config) does not exist; using defaults")]


@pytest.mark.parametrize(
    "text", ["[worker\n", "[worker]\nconcurrency = 0\n", f"[auth]\ntokenn = '{SECRET}'\n"]
)
def test_broken_settings_exit_three(run_chatq: RunChatq, text: str) -> None:
    """For people one line on standard error; for programs JSON all the same."""
    report = report_of(run_chatq, text)
    assert (report["ok"], report["findings"][0]["level"]) == (False, "error")
    result = run_chatq("config", "check")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (3, "", 1)
    assert result.stderr == f"chatq: {report['findings'][0]['message']}\n"


def test_limits_are_told_in_words(run_chatq: RunChatq) -> None:
    """Per registered provider and limited model; the account only where it is not the provider's own."""
    Path("chatq.toml").write_text(
        """
        [providers.lab]
        base_url = "http://lab/v1"
        account = "team"
        limits = { rpm = 600, tpm = 100_000, concurrency = 50 }
        models."big:70b".limits = { concurrency = 2 }
        """
    )
    lines = run_chatq("config", "check").stdout.splitlines()
    rows = {cells[0]: cells[1:] for cells in (re.split(r" {2,}", line) for line in lines)}
    assert rows["ollama"] == ["on", "limits unknown: concurrency adapts", "key: none needed"]
    assert rows["lab"] == ["on", "account team: 600 rpm, 100,000 tpm, 50 at a time", "key: none needed"]
    assert rows["lab/big:70b"] == ["2 at a time"]
    assert rows["kimi"][:2] == ["off", "-"]


def test_limits_are_reported_for_programs(run_chatq: RunChatq) -> None:
    """The account and all limits of what is registered; nothing of what is off."""
    report = report_of(run_chatq, '[providers.ollama.models."a:b".limits]\nrpm = 5\n')
    rows = {row["name"]: row for row in report["providers"]}
    defaults = {"rpm": None, "tpm": None, "concurrency": None, "slice_s": 0.5, "charge": "prompt+max"}
    assert (rows["ollama"]["account"], rows["ollama"]["limits"]) == ("ollama", defaults)
    assert rows["ollama"]["models"] == {"a:b": {**defaults, "rpm": 5}}
    assert (rows["kimi"]["account"], rows["kimi"]["limits"], rows["kimi"]["models"]) == (None, None, {})


@pytest.mark.parametrize(
    "text",
    [
        "[clients.somebody]\nlimits = { rpm = 1 }",
        '[providers.ollama]\naccount = "alone"',
        "[providers.ollama]\nlimits = { rpm = 60 }\nmodels.m.limits = { rpm = 60, concurrency = 5 }",
        '[providers.ollama]\nlimits = { tpm = 60, charge = "max(prompt,max)" }',
        '[providers.twin]\nbase_url = "http://localhost:11434"\naccount = "ollama"',
    ],
)
def test_sensible_limits_are_no_finding(run_chatq: RunChatq, text: str) -> None:
    """A client's limit, an account of one's own, a model within its account, two names with one account."""
    assert report_of(run_chatq, text)["findings"] == report_of(run_chatq)["findings"]


def test_report_for_people_ends_with_the_verdict(run_chatq: RunChatq) -> None:
    """File, Redis, providers, findings, verdict."""
    lines = run_chatq("config", "check").stdout.splitlines()
    assert lines[0].split(maxsplit=1) == ["file", "none (defaults and environment)"]
    assert lines[1].split() == ["redis", "embedded"]
    assert lines[-1] == "usable"
