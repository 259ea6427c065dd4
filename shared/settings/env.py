"""`CHATQ_<SECTION>__<KEY>`: settings from the environment, laid over the file."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import tomli

from shared.errors import ConfigError
from shared.settings.provider import BUILTIN_PROVIDERS
from shared.settings.raw import KeyPath, RawSettings
from shared.settings.schema import did_you_mean, is_text, keys_of
from shared.settings.tree import SECTIONS

PREFIX = "CHATQ_"
SHORT_NAMES: dict[str, KeyPath] = {"CHATQ_REDIS_URL": ("redis", "url")}
"""Names outside the scheme, which every deployment knows; they win over the nested form."""


def apply_env(raw: RawSettings, env: Mapping[str, str]) -> RawSettings:
    """Lay every `CHATQ_` variable over the file's values.

    Raises:
        ConfigError: A variable names no setting.
    """
    tree, origins = copy.deepcopy(raw.tree), dict(raw.origins)
    # Short names last, so that they win.
    for variable in sorted(env, key=lambda name: (name in SHORT_NAMES, name)):
        if not variable.startswith(PREFIX) or variable == "CHATQ_CONFIG":
            continue
        path = SHORT_NAMES.get(variable) or _path(variable, tree)
        _set(tree, path, _value(path, env[variable]))
        origins[path] = variable
    return replace(raw, tree=tree, origins=origins)


def _path(variable: str, tree: Mapping[str, Any]) -> KeyPath:
    section, *rest = variable.removeprefix(PREFIX).lower().split("__")
    if section == "providers" and len(rest) > 1:
        provider = _existing("__".join(rest[:-1]), [*tree.get("providers", ()), *BUILTIN_PROVIDERS])
        return (section, provider, rest[-1])
    if section in SECTIONS and section != "providers" and len(rest) == 1 and rest[0]:
        return (section, _existing(rest[0], tree.get(section, ())))
    raise ConfigError(
        f"{variable} is not a setting{did_you_mean(variable, _known_variables())}; "
        f"allowed: CHATQ_CONFIG, CHATQ_REDIS_URL, CHATQ_<SECTION>__<KEY> and CHATQ_PROVIDERS__<NAME>__<KEY> "
        f"with section {', '.join(SECTIONS)}"
    )


def _existing(name: str, known: Iterable[str]) -> str:
    """Find the key that a variable means: variables have neither small letters nor dashes."""
    names = list(known)
    if name in names:
        return name
    return next((other for other in names if other.lower().replace("-", "_") == name), name)


def _known_variables() -> list[str]:
    paths: list[KeyPath] = [(section, key) for section in SECTIONS for key in keys_of((section,))]
    paths += [("providers", name, key) for name in BUILTIN_PROVIDERS for key in keys_of(("providers", name))]
    return [PREFIX + "__".join(path).upper() for path in paths]


def _value(path: KeyPath, text: str) -> Any:
    """Read a variable as a TOML value; where text is wanted, or it is no TOML, it is the text itself."""
    try:
        document = tomli.loads(f"value = {text}")
    except tomli.TOMLDecodeError:
        return text
    value = document["value"]
    is_one_value = len(document) == 1  # a line break in the text could have started another key
    return value if is_one_value and (isinstance(value, str) or not is_text(path)) else text


def _set(tree: dict[str, Any], path: KeyPath, value: Any) -> None:
    table: Any = tree
    for part in path[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):  # the file has it wrong; validation says so
            return
    table[path[-1]] = value
