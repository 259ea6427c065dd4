"""Where settings come from, how sources are laid over each other, and that they keep their secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.settings import BUILTIN_PROVIDERS, JobSettings, Settings, load_settings

SECRET = "sk-seeded-secret-0123456789"


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings file of the checkout is found by chance."""
    monkeypatch.chdir(tmp_path)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_without_a_source_defaults_apply() -> None:
    """No file and no variable is a complete configuration."""
    settings = load_settings(env={"HOME": "/home/x"})
    assert settings.source is None
    assert settings.warnings == ()
    assert settings.worker.concurrency == 500


def test_builtin_providers_have_documented_addresses() -> None:
    """The built-in providers are configured out of the box, in this order."""
    providers = load_settings(env={}).providers
    assert [(name, spec.wire, spec.base_url, spec.key_env, spec.key_file) for name, spec in providers.items()] == [
        ("ollama", "ollama", "http://localhost:11434", "", ""),
        ("ollama_cloud", "ollama_generate", "https://ollama.com", "OLLAMA_CLOUD_KEY",
         "/etc/lakehouse/ollama_cloud.env"),
        ("openrouter", "openai", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY",
         "/etc/lakehouse/openrouter.env"),
        ("opencode", "openai", "https://opencode.ai/zen/v1", "OPENCODE_API_KEY", "/etc/lakehouse/opencode.env"),
        ("kimi", "openai", "https://api.kimi.com/coding/v1", "KIMI_API_KEY", "/etc/lakehouse/kimi.env"),
        ("openai", "openai", "https://api.openai.com/v1", "OPENAI_API_KEY", ""),
        ("gemini", "gemini", "https://generativelanguage.googleapis.com/v1beta", "GEMINI_API_KEY", ""),
        ("deepseek", "openai", "https://api.deepseek.com", "DEEPSEEK_API_KEY", ""),
        ("moonshot", "openai", "https://api.moonshot.ai/v1", "MOONSHOT_API_KEY", ""),
        ("xai", "openai", "https://api.x.ai/v1", "XAI_API_KEY GROK_API_KEY", ""),
        ("xiaomi", "openai", "https://api.xiaomimimo.com/v1", "XIAOMI_API_KEY", ""),
        ("anthropic", "anthropic", "https://api.anthropic.com/v1", "ANTHROPIC_API_KEY", ""),
    ]  # fmt: skip


def test_default_tiers_are_the_documented_ones() -> None:
    """Every tier of the issue has its model."""
    models = load_settings(env={}).models
    assert models.tiers == {
        "local_fast": "qwen3.5:latest",
        "local_judge": "qwen3.5:latest",
        "local_review": "qwen3.5:latest",
        "local_embed": "nomic-embed-text",
        "cloud_judge": "kimi-k2.6:cloud",
        "cloud_review": "qwen3-coder:480b",
        "cloud_strong": "deepseek-v3.2",
        "frontier_review": "openrouter/anthropic/claude-opus-4-7",
        "frontier_arch": "openrouter/moonshotai/kimi-k2-0905",
        "frontier_strong": "openrouter/openai/gpt-5",
        "frontier_free": "opencode/claude-opus-4-7",
    }
    assert models.weak_models == ("qwen3.5:latest", "qwen3:latest")


def test_further_tier_names_are_allowed(tmp_path: Path) -> None:
    """An operator's own tiers stand behind the built-in ones."""
    path = write(tmp_path / "a.toml", '[models]\nmy_tier = "kimi/k3"\nlocal_fast = "tiny"\n')
    tiers = load_settings(path, env={}).models.tiers
    assert tiers["my_tier"] == "kimi/k3"
    assert tiers["local_fast"] == "tiny"
    assert list(tiers)[-1] == "my_tier"


def test_explicit_path_wins_over_variable(tmp_path: Path) -> None:
    """`--config` is read before `CHATQ_CONFIG`, and that before `./chatq.toml`."""
    write(tmp_path / "chatq.toml", "[worker]\nconcurrency = 1\n")
    by_env = write(tmp_path / "env.toml", "[worker]\nconcurrency = 2\n")
    by_path = write(tmp_path / "path.toml", "[worker]\nconcurrency = 3\n")
    env = {"CHATQ_CONFIG": str(by_env)}
    assert load_settings(env={}).worker.concurrency == 1
    assert load_settings(env=env).worker.concurrency == 2
    assert load_settings(by_path, env=env).worker.concurrency == 3


def test_lakehouse_file_is_not_picked_up_unasked(tmp_path: Path) -> None:
    """`./lakehouse.toml` belongs to another program: it is read only when named."""
    write(tmp_path / "lakehouse.toml", '[chatd]\nbind = "127.0.0.1:1"\n')
    assert load_settings(env={}).source is None


def test_missing_named_file_warns_and_defaults(tmp_path: Path) -> None:
    """A path that leads nowhere is worth a warning, not a refusal, and no other file is tried."""
    write(tmp_path / "chatq.toml", "[worker]\nconcurrency = 1\n")
    by_path = load_settings(Path("gone.toml"), env={})
    by_env = load_settings(env={"CHATQ_CONFIG": "gone.toml"})
    assert by_path.warnings == ("gone.toml (--config) does not exist; using defaults",)
    assert by_env.warnings == ("gone.toml (CHATQ_CONFIG) does not exist; using defaults",)
    assert by_path.worker.concurrency == by_env.worker.concurrency == 500


def test_partial_override_keeps_other_keys(tmp_path: Path) -> None:
    """An entry for a built-in provider changes only what it states."""
    path = write(tmp_path / "a.toml", "[providers.openrouter]\ntimeout_s = 20\n")
    spec = load_settings(path, env={}).providers["openrouter"]
    assert spec.timeout_s == 20
    assert spec.base_url == BUILTIN_PROVIDERS["openrouter"]["base_url"]
    assert spec.key_env == "OPENROUTER_API_KEY"


def test_new_provider_needs_only_its_address(tmp_path: Path) -> None:
    """A custom provider speaks the OpenAI wire unless it says otherwise, and stands behind the built-in ones."""
    path = write(tmp_path / "a.toml", '[providers.my-vllm]\nbase_url = "http://gpu:8000/v1/"\n')
    providers = load_settings(path, env={}).providers
    assert list(providers)[-1] == "my-vllm"
    assert (providers["my-vllm"].wire, providers["my-vllm"].base_url) == ("openai", "http://gpu:8000/v1")


def test_data_dir_follows_xdg_then_home(tmp_path: Path) -> None:
    """The embedded server's folder is the user's, unless the file names one."""
    path = write(tmp_path / "a.toml", '[redis]\ndata_dir = "~/redis"\n')
    assert load_settings(env={"HOME": "/h"}).redis.data_dir == Path("/h/.local/share/chatq/redis")
    assert load_settings(env={"HOME": "/h", "XDG_DATA_HOME": "/x"}).redis.data_dir == Path("/x/chatq/redis")
    assert load_settings(env={"HOME": "/h", "XDG_DATA_HOME": "x"}).redis.data_dir.is_relative_to("/h")
    assert load_settings(path, env={"HOME": "/h"}).redis.data_dir == Path("/h/redis")


def test_key_files_in_home_are_resolved(tmp_path: Path) -> None:
    """`~` in a key file is the home of the process, not a folder of that name."""
    path = write(tmp_path / "a.toml", '[providers.kimi]\nkey_file = "~/kimi.env"\n')
    assert load_settings(path, env={"HOME": "/h"}).providers["kimi"].key_file == "/h/kimi.env"


def test_a_tier_may_name_itself(tmp_path: Path) -> None:
    """A tier with its model's own name is no circle."""
    path = write(tmp_path / "a.toml", '[models]\nqwen = "qwen"\n')
    assert load_settings(path, env={}).models.tiers["qwen"] == "qwen"


def test_settings_cannot_be_changed() -> None:
    """What is passed down is the same for everybody."""
    settings = load_settings(env={})
    with pytest.raises(ValueError, match="frozen"):
        settings.worker.concurrency = 1  # type: ignore[misc]


def test_repr_never_shows_a_secret(tmp_path: Path) -> None:
    """Tokens, passwords in addresses, credential headers and extra body values stay out of logs."""
    path = write(
        tmp_path / "a.toml",
        f"""
        [redis]
        url = "redis://user:{SECRET}@h:6379/0?password={SECRET}"
        [auth]
        token = "{SECRET}"
        [providers.x]
        base_url = "http://127.0.0.1:1"
        headers = {{ Authorization = "{SECRET}", X-Api-Key = "{SECRET}", X-Title = "shown" }}
        extra_body = {{ api_key = "{SECRET}" }}
        """,
    )
    settings = load_settings(path, env={})
    assert SECRET in settings.redis.url
    for text in (repr(settings), str(settings), repr(settings.redis), repr(settings.providers)):
        assert SECRET not in text
    assert "redis://h:6379/0" in repr(settings)
    assert "shown" in repr(settings)


def test_body_limit_is_the_schema_limit() -> None:
    """The setting's default and the chat schema's limit are one number."""
    assert JobSettings().max_body_bytes == 4 * 1024 * 1024


def test_settings_built_by_hand_equal_the_defaults() -> None:
    """`Settings()` and no source at all agree, the data folder included when HOME is the same."""
    assert Settings() == load_settings(env={"HOME": str(Path.home())})
