"""`CHATQ_<SECTION>__<KEY>`: settings from the environment, laid over the file."""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import tomli

from shared.errors import ConfigError
from shared.settings.builtin_providers import BUILTIN_PROVIDERS
from shared.settings.raw import KeyPath, RawSettings
from shared.settings.schema import did_you_mean, has_chosen_names, is_table, is_text, keys_of
from shared.settings.seed_groups import SEED_GROUPS
from shared.settings.tree import SECTIONS

PREFIX = "CHATQ_"
SHORT_NAMES: dict[str, KeyPath] = {"CHATQ_REDIS_URL": ("redis", "url")}
"""Names outside the scheme, which every deployment knows; they win over the nested form."""

BUILT_IN: dict[KeyPath, Collection[str]] = {("providers",): BUILTIN_PROVIDERS, ("groups",): SEED_GROUPS}
"""For the tables that have entries without a file: their names."""


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
    parts = variable.removeprefix(PREFIX).lower().split("__")
    path = _below((), parts, tree) if all(parts) else None
    if path is not None:
        return path
    raise ConfigError(
        f"{variable} is not a setting{did_you_mean(variable, _known_variables())}; "
        f"allowed: CHATQ_CONFIG, CHATQ_REDIS_URL, CHATQ_<SECTION>__<KEY>, CHATQ_PROVIDERS__<NAME>__<KEY>, "
        f"CHATQ_CLIENTS__<ID>__<KEY> and CHATQ_GROUPS__<ID>__<KEY>, where a KEY may be <TABLE>__<KEY>, "
        f"with section {', '.join(SECTIONS)}"
    )


def _below(table: KeyPath, parts: Sequence[str], tree: Mapping[str, Any]) -> KeyPath | None:
    """Find the key of `table` that the rest of a variable's name means, or None when it cannot be one.

    Args:
        table: Where in the settings the search stands.
        parts: At least one; none is empty.
        tree: What is set so far in `table`.
    """
    if len(parts) == 1:
        is_key = table != () and not has_chosen_names(table)
        return (*table, _existing(parts[0], tree)) if is_key else None
    end = _end_of_name(keys_of((*table, "*")), parts) if has_chosen_names(table) else 1
    known = [*tree, *BUILT_IN.get(table, ())]
    key = _existing("__".join(parts[:end]), known)
    below, inner = (*table, key), tree.get(key)
    if not is_table(below):
        return None
    return _below(below, parts[end:], inner if isinstance(inner, Mapping) else {})


def _end_of_name(keys: Collection[str], parts: Sequence[str]) -> int:
    """How many parts are the entry's name: all that stand before the first known key, since names may have `__`."""
    ends = (end for end in range(1, len(parts)) if parts[end] in keys)
    return next(ends, len(parts) - 1)


def _existing(name: str, known: Iterable[str]) -> str:
    """Find the key that a variable means: variables have neither small letters nor signs other than `_`."""
    names = list(known)
    if name in names:
        return name
    return next((other for other in names if re.sub(r"[^a-z0-9]", "_", other.lower()) == name), name)


def _known_variables() -> list[str]:
    tables: list[KeyPath] = [(section,) for section in SECTIONS if not has_chosen_names((section,))]
    tables += [("providers", name) for name in BUILTIN_PROVIDERS]
    return [PREFIX + "__".join(path).upper() for table in tables for path in _keys_below(table)]


def _keys_below(path: KeyPath) -> Iterator[KeyPath]:
    keys = keys_of(path)
    if not keys:
        yield path
    for key in keys:
        yield from _keys_below((*path, key))


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
