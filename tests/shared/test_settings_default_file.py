"""The commented chatq.toml in the repository states every default, and states it truly."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args, get_origin

import tomli

from shared.settings import (
    BUILTIN_PROVIDERS,
    SEED_GROUPS,
    ConditionSettings,
    GroupSettings,
    LimitSettings,
    ProviderSettings,
    RuleSettings,
    Settings,
    load_settings,
)
from shared.settings.section import Section
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


def section_in(kind: Any) -> type[Section] | None:
    """The section that a field holds, by itself, one per name or a list of it."""
    inner = (
        get_args(kind)[{dict: 1, tuple: 0}[get_origin(kind)]] if get_origin(kind) in (dict, tuple) else kind
    )
    return inner if isinstance(inner, type) and issubclass(inner, Section) else None


def keys_with_default(model: type[Section]) -> dict[str, Any]:
    """All that can be stated in a section, tables inside it likewise; named tables are empty by default."""
    inner = {name: section_in(field.annotation) for name, field in model.model_fields.items()}
    return {
        name: keys_with_default(section) if section is field.annotation and section else {}
        for name, field in model.model_fields.items()
        for section in [inner[name]]
        if field.default is not None
    }


def keys_stated(table: Any, pattern: dict[str, Any]) -> dict[str, Any]:
    """The keys of a table of the file, and of the tables inside where `pattern` has some."""
    return {
        name: keys_stated(value, pattern[name]) if pattern.get(name) else {} for name, value in table.items()
    }


def test_every_setting_is_stated() -> None:
    """No section and no key is left out, and none is stated that does not exist."""
    expected = {name: keys for name, keys in keys_with_default(Settings).items() if name in SECTIONS}
    assert keys_stated({**stated(), "providers": {}}, expected) == expected


def test_every_provider_key_is_stated() -> None:
    """Each built-in provider shows all that can be set."""
    providers, expected = stated()["providers"], keys_with_default(ProviderSettings)
    assert list(providers) == list(BUILTIN_PROVIDERS)
    assert {name: keys_stated(entry, expected) for name, entry in providers.items()} == dict.fromkeys(
        providers, expected
    )


def test_settings_without_default_are_shown() -> None:
    """Limits that are not known cannot be stated; the file shows them in a comment, with their range."""
    text = FILE.read_text(encoding="utf-8")
    unknown = [name for name, field in LimitSettings.model_fields.items() if field.default is None]
    assert unknown == ["rpm", "tpm", "concurrency"]
    assert all(re.search(rf"^# {name} = .*, 1 to [0-9]+", text, re.MULTILINE) for name in unknown)


def sections_below(model: type[Section]) -> set[type[Section]]:
    inner = {section_in(field.annotation) for field in model.model_fields.values()} - {None}
    return {model}.union(*(sections_below(section) for section in inner if section))


def test_every_setting_is_described() -> None:
    """Each field carries its meaning, which `use_attribute_docstrings` makes its description."""
    fields = {
        f"{model.__name__}.{name}": field.description
        for model in sections_below(Settings) - {Settings}
        for name, field in model.model_fields.items()
    }
    assert "ProviderModelSettings.limits" in fields
    assert [name for name, description in fields.items() if not description] == []


def test_group_keys_are_shown_in_comments() -> None:
    """No group is stated, since one in a file is read-only; every key of groups, rules and conditions is shown."""
    text = FILE.read_text(encoding="utf-8")
    keys = {*GroupSettings.model_fields, *RuleSettings.model_fields, *ConditionSettings.model_fields}
    tables = {"rules", "conditions"}
    assert [key for key in sorted(keys - tables) if not re.search(rf"^# {key} = ", text, re.MULTILINE)] == []
    assert all(f"{name}" in text for name in SEED_GROUPS)


def test_commented_groups_are_valid_as_they_stand(tmp_path: Path) -> None:
    """Who takes the comment signs away has groups that work."""
    section = (
        FILE.read_text(encoding="utf-8").partition("\n[groups]\n")[2].partition("\n# Providers are data")[0]
    )
    lines = re.findall(r"^# (\[.*|[a-z_]+ = .*)$", section, re.MULTILINE)
    other = '[groups.other]\ntargets = ["a", "b", "c"]\n[[groups.other.rules]]'
    text = "\n".join(lines).replace("[[groups.other.rules]]", other)
    path = tmp_path / "groups.toml"
    path.write_text(text, encoding="utf-8")
    groups = load_settings(path, env={"HOME": str(tmp_path)}).groups
    assert list(groups) == ["my-stack", "other"]
    assert groups["my-stack"].rules[0].conditions.max_input_tokens_lt == 8000
