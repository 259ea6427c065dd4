"""`chatq groups` and `chatq route` of a group: look, make, explain, delete."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import KEYS

from .conftest import RunChatq

CLASSIFIER = ["--strategy", "classifier", "--selector", "ollama/tiny", "--threshold", "10"]


@pytest.fixture
def env(redis_url: str) -> dict[str, str]:
    return {"CHATQ_REDIS_URL": redis_url, **KEYS}


def test_group_is_made_shown_and_deleted(run_chatq: RunChatq, env: dict[str, str]) -> None:
    """What `show --json` prints is what `set` takes."""
    made = run_chatq("groups", "set", "pair", "ollama/a", "openrouter/b", "--use", "a test", **env)
    assert made.exit_code == 0
    shown = json.loads(run_chatq("groups", "show", "pair", "--json", **env).stdout)
    assert shown["targets"] == ["ollama/a", "openrouter/b"]
    assert shown["from"] == "run time"
    listed = json.loads(run_chatq("groups", "list", "--json", **env).stdout)
    assert [group["from"] for group in listed if group["id"] in ("pair", "dispatcher")] == [
        "seed",
        "run time",
    ]
    assert run_chatq("groups", "delete", "pair", **env).exit_code == 0
    assert run_chatq("groups", "show", "pair", **env).exit_code == 2


def test_what_is_shown_can_be_set(run_chatq: RunChatq, env: dict[str, str], tmp_path: Path) -> None:
    run_chatq("groups", "set", "pair", "ollama/a", "openrouter/b", **env)
    copy = tmp_path / "pair.json"
    copy.write_text(run_chatq("groups", "show", "pair", "--json", **env).stdout)
    done = run_chatq("groups", "set", "copy", "--file", str(copy), "--level", "9", "--json", **env)
    assert json.loads(done.stdout)["logic_level"] == 9
    assert json.loads(done.stdout)["targets"] == ["ollama/a", "openrouter/b"]


def test_rules_come_from_a_file(run_chatq: RunChatq, env: dict[str, str], tmp_path: Path) -> None:
    """TOML as in the settings file; the rule that matched is named."""
    source = tmp_path / "group.toml"
    source.write_text(
        'targets = ["ollama/a", "openrouter/b"]\n[[rules]]\nrule_id = "code"\nprimary_model = "openrouter/b"\n'
        "[rules.conditions]\nrequires_tool_calling = false\nany_of_tags = ['mine']\n"
    )
    assert run_chatq("groups", "set", "ruled", "--file", str(source), **env).exit_code == 0
    plain = json.loads(run_chatq("groups", "explain", "ruled", "--prompt", "hi", "--json", **env).stdout)
    tagged = run_chatq("groups", "explain", "ruled", "--prompt", "hi", "--tag", "mine", "--json", **env)
    assert plain["upstream_model"] == "a"
    assert json.loads(tagged.stdout)["upstream_model"] == "b"
    assert "code" in json.loads(tagged.stdout)["chain"][0]


def test_route_explains_a_dispatcher(run_chatq: RunChatq, env: dict[str, str]) -> None:
    """Whom it asks, and where the job goes if nobody answers."""
    run_chatq("groups", "set", "disp", "ollama/small", "openrouter/large", *CLASSIFIER, **env)
    result = run_chatq("route", "disp", "--prompt", "Refactor this.", "--json", **env)
    found = json.loads(result.stdout)
    assert (found["provider"], found["upstream_model"]) == ("ollama", "tiny")
    assert found["chain"] == ["disp (asks ollama/tiny)"]
    assert found["unrated_chain"] == ["disp (no rating, complex task)", "openrouter/large"]


def test_route_of_a_group_needs_no_redis(run_chatq: RunChatq) -> None:
    """The file's groups and the built-in ones are known without."""
    result = run_chatq("route", "auto:fast")
    assert "auto:fast (failover) → ollama/qwen3.5:latest" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["set", "a/b", "ollama/a"], "a name has letters, digits"),
        (["set", "circle", "circle"], "circle -> circle"),
        (["set", "none"], "targets"),
        (["set", "odd", "ollama/a", "--strategy", "classifier"], "needs a selector"),
        (["set", "odd", "ollama/a", "--weights", "many"], "no list of numbers"),
        (["delete", "dispatcher"], "is built in"),
        (["show", "nothing"], "there is no group 'nothing'"),
        (["explain", "nothing"], "there is no group 'nothing'"),
    ],
)
def test_what_cannot_be_is_refused(
    run_chatq: RunChatq, env: dict[str, str], arguments: list[str], words: str
) -> None:
    """In one line that says what to do; nothing has changed."""
    result = run_chatq("groups", *arguments, **env)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr


def test_route_knows_what_was_made_at_run_time(run_chatq: RunChatq, env: dict[str, str]) -> None:
    """Also where the bare name would lead to a provider that is off."""
    off = {**env, "CHATQ_ROUTING__DEFAULT_PROVIDER": "kimi"}
    run_chatq("groups", "set", "mine", "openrouter/b", **off)
    result = run_chatq("route", "mine", **off)
    assert result.exit_code == 0
    assert "mine (no rule) → openrouter/b" in result.stdout


def test_route_knows_the_groups_of_the_embedded_redis(run_chatq: RunChatq, tmp_path: Path) -> None:
    """Once it has been used; before, none is started."""
    env = {"CHATQ_REDIS__DATA_DIR": str(tmp_path / "data")}
    assert "bare name" in run_chatq("route", "mine", **env).stdout
    assert not (tmp_path / "data").exists()
    run_chatq("groups", "set", "mine", "ollama/a", **env)
    assert "mine (no rule) → ollama/a" in run_chatq("route", "mine", **env).stdout


def test_route_says_what_a_fallback_group_decided(run_chatq: RunChatq, env: dict[str, str]) -> None:
    run_chatq("groups", "set", "pair", "ollama/a", "openrouter/b", **env)
    result = run_chatq("route", "ollama/x", "--fallback", "pair", **env)
    assert "decisions       ollama/x → else pair (no rule) → ollama/a" in result.stdout


def test_lines_of_a_run_have_tags(run_chatq: RunChatq, env: dict[str, str], tmp_path: Path) -> None:
    """Their own, else those of the command line."""
    source = tmp_path / "group.json"
    rule = {"rule_id": "vip", "conditions": {"any_of_tags": ["vip"]}, "primary_model": "openrouter/b"}
    source.write_text(json.dumps({"targets": ["ollama/a", "openrouter/b"], "rules": [rule]}))
    run_chatq("groups", "set", "ruled", "--file", str(source), **env)
    lines = [{"prompt": "a"}, {"prompt": "b", "tags": []}, {"prompt": "c", "tags": ["vip"]}]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, lines)))
    dry = ["run", "in.jsonl", "-m", "ruled", "--dry-run", "--json"]

    def counts(*options: str) -> dict[str, int]:
        rows = json.loads(run_chatq(*dry, *options, **env).stdout)["models"]
        return {row["upstream_model"]: row["lines"] for row in rows}

    assert counts() == {"a": 2, "b": 1}
    assert counts("--tag", "vip") == {"a": 1, "b": 2}
    assert "tags: must be" in run_chatq(*dry, "--tag", "x" * 65, **env).stderr
