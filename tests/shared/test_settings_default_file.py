"""The commented chatq.toml in the repository states every default, and states it truly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tomli

from shared.settings import BUILTIN_PROVIDERS, ModelSettings, ProviderSettings, Settings, load_settings
from shared.settings.tree import SECTIONS

FILE = Path(__file__).parents[2] / "chatq.toml"


def stated() -> dict[str, Any]:
    return tomli.loads(FILE.read_text(encoding="utf-8"))


def test_stated_values_are_the_defaults(tmp_path: Path) -> None:
    """Deleting the file changes nothing."""
    env = {"HOME": str(tmp_path)}
    by_file = load_settings(FILE, env=env)
    empty = tmp_path / "empty.toml"
    empty.touch()
    defaults = load_settings(empty, env=env)
    assert by_file.model_copy(update={"source": None}) == defaults.model_copy(update={"source": None})


def test_every_setting_is_stated() -> None:
    """No section and no key is left out, and none is stated that does not exist."""
    expected = {section: set(Settings.model_fields[section].annotation.model_fields)  # type: ignore[union-attr]
                for section in SECTIONS if section != "providers"}  # fmt: skip
    assert {section: set(keys) for section, keys in stated().items() if section != "providers"} == expected


def test_every_provider_key_is_stated() -> None:
    """Each built-in provider shows all that can be set."""
    providers = stated()["providers"]
    assert list(providers) == list(BUILTIN_PROVIDERS)
    assert all(set(entry) == set(ProviderSettings.model_fields) for entry in providers.values())


def test_every_setting_is_described() -> None:
    """Each field carries its meaning, which `use_attribute_docstrings` makes its description."""
    models = [Settings.model_fields[name].annotation for name in SECTIONS if name != "providers"]
    fields = {
        f"{model.__name__}.{name}": field.description  # type: ignore[union-attr]
        for model in [*models, ProviderSettings, ModelSettings]
        for name, field in model.model_fields.items()  # type: ignore[union-attr]
    }
    assert [name for name, description in fields.items() if not description] == []
