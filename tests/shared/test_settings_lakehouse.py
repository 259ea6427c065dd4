"""An existing lakehouse.toml works as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import ConfigError
from shared.settings import Settings, load_settings

EXISTING = """
[chatd]
bind = "0.0.0.0:3220"
ollama_url = "http://gpu:11434/"
timeout_secs = 240
openrouter_key_env = "MY_OPENROUTER"
openrouter_key_file = "/srv/openrouter.env"
ollama_cloud_key_env = "MY_CLOUD"

[models]
local_fast = "llama3"
house_tier = "kimi/k3"
weak_models = ["llama3"]

[auth]
token = "sk-seeded-secret-0123456789"
allowed_ips = ["10.0.0.0/8"]

[log]
level = "warn"

[storage]
path = "/srv/lake"

[worker]
threads = 9
"""


def load(tmp_path: Path, text: str, *, name: str = "lakehouse.toml", **env: str) -> Settings:
    path = tmp_path / name
    path.write_text(text)
    return load_settings(path, env=env)


def test_chatd_section_configures_the_providers(tmp_path: Path) -> None:
    """Addresses, keys and the time limit land where chatq keeps them."""
    settings = load(tmp_path, EXISTING)
    openrouter, cloud = settings.providers["openrouter"], settings.providers["ollama_cloud"]
    assert settings.api.bind == "0.0.0.0:3220"
    assert settings.providers["ollama"].base_url == "http://gpu:11434"
    assert {spec.timeout_s for spec in settings.providers.values()} == {240}
    assert (openrouter.key_env, openrouter.key_file) == ("MY_OPENROUTER", "/srv/openrouter.env")
    assert (cloud.key_env, cloud.key_file) == ("MY_CLOUD", "/etc/lakehouse/ollama_cloud.env")


def test_models_auth_and_log_are_understood(tmp_path: Path) -> None:
    """The other three sections map one to one; log levels get chatq's names."""
    settings = load(tmp_path, EXISTING)
    assert settings.models.tiers["local_fast"] == "llama3"
    assert settings.models.tiers["house_tier"] == "kimi/k3"
    assert settings.models.weak_models == ("llama3",)
    assert settings.auth.token.get_secret_value() == "sk-seeded-secret-0123456789"
    assert settings.auth.allowed_ips == ("10.0.0.0/8",)
    assert settings.log.level == "warning"


def test_other_sections_are_ignored_silently(tmp_path: Path) -> None:
    """They belong to other programs, even where the name is also one of chatq's."""
    settings = load(tmp_path, EXISTING)
    assert settings.warnings == ()
    assert settings.worker.concurrency == 500


def test_name_alone_makes_a_lakehouse_file(tmp_path: Path) -> None:
    """A lakehouse.toml without `[chatd]` is one all the same."""
    assert load(tmp_path, '[storage]\npath = "x"\n[models]\na = "b"\n').models.tiers["a"] == "b"


def test_chatd_section_alone_makes_one_too(tmp_path: Path) -> None:
    """Whatever the file is called."""
    text = '[chatd]\nollama_url = ""\n[storage]\npath = "x"\n'
    assert load(tmp_path, text, name="house.toml").providers["ollama"].base_url == ""


def test_what_is_not_understood_warns_once(tmp_path: Path) -> None:
    """Unknown keys in the four sections do not stop the start; one line names them all."""
    text = (
        "[chatd]\nmistral_key_env = 'M'\nworkers = 3\n[models]\nprices = { a = 1 }\nempty = ''\n"
        "[auth]\nrealm = 'x'\n[log]\nlevel = 'info,http=debug'\nfile = 'y'\n"
    )
    settings = load(tmp_path, text)
    (warning,) = settings.warnings
    assert warning == (
        f"{tmp_path / 'lakehouse.toml'}: not understood and ignored: chatd.mistral_key_env, chatd.workers, "
        "models.prices, models.empty, auth.realm, log.level, log.file"
    )
    assert settings.log.level == "info"


def test_wrong_value_names_the_lakehouse_key(tmp_path: Path) -> None:
    """The operator is sent to the key that stands in that file, not to the one it maps to."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, '[chatd]\nbind = "here"\n')
    assert str(caught.value).startswith(f"{tmp_path / 'lakehouse.toml'}: chatd.bind must be an address")


def test_section_that_is_no_table_warns(tmp_path: Path) -> None:
    """A loose value with a section's name is not understood either."""
    assert load(tmp_path, "auth = 5\n").warnings[0].endswith("not understood and ignored: auth")


def test_variables_override_a_lakehouse_file(tmp_path: Path) -> None:
    """The environment is the last word here too."""
    settings = load(tmp_path, EXISTING, CHATQ_PROVIDERS__OLLAMA__BASE_URL="http://other:1")
    assert settings.providers["ollama"].base_url == "http://other:1"
