"""Which providers are registered, where their keys came from, and what the others lack."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from shared.errors import ProviderNotFound
from shared.providers import Provider, ProviderRegistry
from shared.settings import BUILTIN_PROVIDERS, LimitSettings, Settings

SECRET = "sk-seeded-secret-0123456789"


def registry_of(env: Mapping[str, str] | None = None, **providers: dict[str, Any]) -> ProviderRegistry:
    """A registry whose built-in providers have no key files, so that the machine's own do not count."""
    without_files = {name: {"key_file": ""} for name in ("ollama_cloud", "openrouter", "opencode", "kimi")}
    settings = Settings.model_validate({"providers": {**without_files, **providers}})
    return ProviderRegistry.from_settings(settings, env=env or {})


def key_of(registry: ProviderRegistry, name: str) -> str | None:
    key = registry.get(name).key
    return key.get_secret_value() if key else None


def test_without_keys_only_local_ollama_is_on() -> None:
    """A fresh machine reaches the provider that needs no key, and no other."""
    registry = registry_of()
    assert list(registry.registered) == ["ollama"]
    assert list(registry.reasons) == [name for name in BUILTIN_PROVIDERS if name != "ollama"]
    assert registry.registered["ollama"].key_origin == "none needed"


def test_registered_follow_the_order_of_settings() -> None:
    """Listings are stable: built-in first, then the operator's."""
    registry = registry_of({"KIMI_API_KEY": "k", "OPENROUTER_API_KEY": "o"}, lab={"base_url": "http://lab"})
    assert list(registry.registered) == ["ollama", "openrouter", "kimi", "lab"]


def test_key_in_environment_wins_over_file(tmp_path: Path) -> None:
    """Environment, then file; an empty variable is no key."""
    file = tmp_path / "o.env"
    file.write_text("OPENROUTER_API_KEY=from-file")
    openrouter = {"key_file": str(file)}
    by_env = registry_of({"OPENROUTER_API_KEY": "from-env"}, openrouter=openrouter)
    by_file = registry_of({"OPENROUTER_API_KEY": ""}, openrouter=openrouter)
    assert (key_of(by_env, "openrouter"), by_env.get("openrouter").key_origin) == (
        "from-env",
        "env OPENROUTER_API_KEY",
    )
    assert (key_of(by_file, "openrouter"), by_file.get("openrouter").key_origin) == (
        "from-file",
        f"file {file}",
    )


def test_blanks_around_a_key_are_dropped() -> None:
    """A line break copied along with the key does no harm."""
    assert key_of(registry_of({"KIMI_API_KEY": f" {SECRET}\n"}), "kimi") == SECRET


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "schlüssel"])
def test_key_that_http_cannot_carry_is_refused(key: str) -> None:
    """It would fail every call, or smuggle in a header."""
    registry = registry_of({"KIMI_API_KEY": key})
    assert registry.reasons["kimi"] == (
        "the key in KIMI_API_KEY has blanks or characters outside ASCII: check how it was copied"
    )


def test_custom_provider_without_key_names_needs_none() -> None:
    """A server of one's own often asks for no key."""
    provider = registry_of(lab={"base_url": "http://lab/v1", "extra_body": {"top_k": 1}}).get("lab")
    assert provider.key is None
    assert (provider.wire, provider.base_url, provider.extra_body) == (
        "openai",
        "http://lab/v1",
        {"top_k": 1},
    )


def test_custom_provider_with_key_name_needs_one() -> None:
    """Naming a variable says that a key is needed."""
    registry = registry_of(lab={"base_url": "http://lab", "key_env": "LAB_KEY"})
    assert registry.reasons["lab"] == "no key: set LAB_KEY"


def test_empty_base_url_switches_off() -> None:
    """Also where a key is there."""
    registry = registry_of({"KIMI_API_KEY": "k"}, ollama={"base_url": ""}, kimi={"base_url": ""})
    assert list(registry.registered) == []
    assert registry.reasons["ollama"] == "switched off by an empty base_url: set [providers.ollama] base_url"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no key: set KIMI_API_KEY, or put KIMI_API_KEY=... into {file}"),
        (
            SECRET,
            "{file} line 1 is not KEY=value; no key: set KIMI_API_KEY, or put KIMI_API_KEY=... into {file}",
        ),
        (
            f"A={SECRET}\nB=2",
            "{file} has 2 keys, none called KIMI_API_KEY; "
            "no key: set KIMI_API_KEY, or put KIMI_API_KEY=... into {file}",
        ),
        (
            "KIMI_API_KEY='two words'",
            "the key in {file} has blanks or characters outside ASCII: check how it was copied",
        ),
    ],
)
def test_unusable_key_file_keeps_provider_off(tmp_path: Path, content: str | None, reason: str) -> None:
    """The reason says what to do and never shows the file's contents."""
    file = tmp_path / "kimi.env"
    if content is not None:
        file.write_text(content)
    registry = registry_of(kimi={"key_file": str(file)})
    assert registry.reasons["kimi"] == reason.format(file=file)


def test_key_file_without_variable_name_is_enough(tmp_path: Path) -> None:
    """A custom provider may have its key in a file only."""
    file = tmp_path / "lab.env"
    lab = {"base_url": "http://lab", "key_file": str(file)}
    assert registry_of(lab=lab).reasons["lab"] == f"no key: put KEY=... into {file}"
    file.write_text("KEY=k")
    assert key_of(registry_of(lab=lab), "lab") == "k"


def test_key_file_open_to_others_warns(tmp_path: Path) -> None:
    """The provider works; the operator hears of it."""
    file = tmp_path / "kimi.env"
    file.write_text("KIMI_API_KEY=k")
    file.chmod(0o644)
    registry = registry_of(kimi={"key_file": str(file)})
    assert registry.warnings == (f"others than the owner can read {file}: chmod 600 {file}",)
    file.chmod(0o600)
    assert registry_of(kimi={"key_file": str(file)}).warnings == ()


def test_unregistered_provider_says_what_to_set() -> None:
    """The error is one line that names variable and file."""
    settings = Settings.model_validate({"providers": {"kimi": {"key_file": "/nonexistent/kimi.env"}}})
    registry = ProviderRegistry.from_settings(settings, env={})
    with pytest.raises(ProviderNotFound) as caught:
        registry.get("kimi")
    assert caught.value.provider == "kimi"
    assert str(caught.value) == (
        "provider 'kimi' is not registered; no key: set KIMI_API_KEY, "
        "or put KIMI_API_KEY=... into /nonexistent/kimi.env"
    )


def test_unknown_provider_lists_the_known() -> None:
    """A name that is not configured at all is told apart from one without a key."""
    registry = registry_of()
    assert registry.is_known("kimi") and not registry.is_known("nope")
    with pytest.raises(ProviderNotFound) as caught:
        registry.get("nope")
    assert str(caught.value) == (
        "no provider is called 'nope': add [providers.nope], "
        "or use one of ollama, ollama_cloud, openrouter, opencode, kimi, openai, gemini, deepseek, moonshot, xai, "
        "xiaomi, anthropic"
    )


def test_account_is_the_providers_own_name_by_default() -> None:
    """An account is never empty, also for a provider made by hand."""
    registry = registry_of(lab={"base_url": "http://lab", "account": "team"})
    assert registry.get("ollama").account == "ollama"
    assert registry.get("lab").account == "team"
    assert Provider("x", "openai", "http://x").account == "x"


def test_limits_of_an_account_hold_for_all_its_providers() -> None:
    """Stated at one entry, even one that is off, they are the others' as well; those of models too."""
    registry = registry_of(
        kimi={"limits": {"rpm": 60}, "models": {"k3": {"limits": {"concurrency": 2}}}},
        second={"base_url": "http://second", "account": "kimi", "models": {"k2": {"limits": {"rpm": 5}}}},
    )
    second = registry.get("second")
    assert "kimi" in registry.reasons
    assert second.limits == LimitSettings(rpm=60)
    assert {model: entry.limits for model, entry in second.models.items()} == {
        "k3": LimitSettings(concurrency=2),
        "k2": LimitSettings(rpm=5),
    }


def test_limits_of_other_accounts_do_not_matter() -> None:
    """Without limits of its own, a provider's are not known."""
    ollama = registry_of(lab={"base_url": "http://lab", "limits": {"rpm": 1}}).get("ollama")
    assert ollama.limits == LimitSettings()
    assert ollama.models == {}


def test_provider_repr_shows_no_secret() -> None:
    """Neither key nor credential headers; the extra body not at all."""
    lab = {
        "base_url": "http://lab",
        "key_env": "LAB_KEY",
        "headers": {"Authorization": SECRET, "X-Title": "shown"},
        "extra_body": {"api_key": SECRET},
    }
    provider = registry_of({"LAB_KEY": SECRET}, lab=lab).get("lab")
    assert SECRET not in repr(provider)
    assert "shown" in repr(provider)
    assert "env LAB_KEY" in repr(provider)


def test_key_may_have_several_names(tmp_path: Path) -> None:
    """The first that is set counts, in the environment and in the file."""
    file = tmp_path / "x.env"
    file.write_text("OTHER=o\nGROK_API_KEY=from-file\n")
    by_env = registry_of({"GROK_API_KEY": "from-env"}).get("xai")
    by_file = registry_of(xai={"key_file": str(file)}).get("xai")
    none = registry_of(xai={"key_file": str(tmp_path / "none.env")})
    assert (by_env.key_origin, by_file.key_origin) == ("env GROK_API_KEY", f"file {file}")
    assert registry_of().reasons["xai"] == "no key: set XAI_API_KEY or GROK_API_KEY"
    assert none.reasons["xai"] == (
        f"no key: set XAI_API_KEY or GROK_API_KEY, or put XAI_API_KEY=... into {tmp_path / 'none.env'}"
    )


def test_first_of_several_key_names_wins() -> None:
    """Both are set."""
    registry = registry_of({"GROK_API_KEY": "second", "XAI_API_KEY": "first"})
    assert key_of(registry, "xai") == "first"


def test_settings_lie_over_what_is_built_in_of_models() -> None:
    """Key by key; a pattern of the operator's own joins them."""
    claude = {"wire": "openai", "base_url_path": "/new"}
    opencode = {
        "models": {"claude-*": claude, "hy-*": {"quirks": ["no_seed"]}, "kimi-*": {"wire": "responses"}}
    }
    patterns = registry_of({"OPENCODE_API_KEY": "k"}, opencode=opencode).get("opencode").patterns
    assert (patterns["claude-*"].wire, patterns["claude-*"].base_url_path) == ("openai", "/new")
    assert patterns["hy-*"].quirks == ("no_seed",)
    assert (patterns["kimi-*"].wire, "fixed_sampling" in patterns["kimi-*"].quirks) == ("responses", True)
    assert patterns["gemini-*"].wire == "gemini"


def test_documented_limits_hold_where_none_are_stated() -> None:
    """Ollama Cloud and Kimi limit the calls at the same time; what the operator states goes before."""
    env = {"OLLAMA_CLOUD_KEY": "o", "KIMI_API_KEY": "k"}
    registry = registry_of(env, kimi={"limits": {"rpm": 5}})
    assert registry.get("ollama_cloud").limits == LimitSettings(concurrency=3)
    assert registry.get("kimi").limits == LimitSettings(rpm=5, concurrency=30)
    pro = registry_of(env, ollama_cloud={"limits": {"concurrency": 10}})
    assert pro.get("ollama_cloud").limits.concurrency == 10


def test_documented_limits_are_those_of_the_vendors_address() -> None:
    """The same name in front of another server is not that account."""
    registry = registry_of({"KIMI_API_KEY": "k"}, kimi={"base_url": "http://lab"})
    assert registry.get("kimi").limits == LimitSettings()
