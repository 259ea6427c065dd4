"""What a settings key may hold, in words, read off the models so that it cannot differ from them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from shared.labels import MAX_LENGTH
from shared.settings.raw import KeyPath
from shared.settings.section import Section
from shared.settings.tree import SECTIONS, Settings

_MODEL = "a model name, 1 to 256 characters"
_NAME_RULES = {
    "providers": "a provider name; allowed: a-z, 0-9, _ and -, up to 64",
    "clients": f"a client; allowed: 1 to {MAX_LENGTH} printable ASCII characters",
    "models": "a model name; allowed: 1 to 256 characters, no blanks at the ends",
    "catalogue": 'a model with its provider, like "openai/gpt-5", or "openai/*" for all of them',
    "groups": "a group's name; allowed: letters, digits, and : . _ - behind the first of these, up to 64",
}
"""For each table whose keys are names that the operator chooses: which names may stand there."""


def keys_of(table: KeyPath) -> tuple[str, ...]:
    """The keys that the table at `table` declares; () is the file itself."""
    model = _model_of(_type_at(table))
    if model is Settings:
        return SECTIONS
    return tuple(model.model_fields) if model else ()


def has_chosen_names(path: KeyPath) -> bool:
    """Whether `path` holds one table per name, and the operator chooses the names (providers, clients, groups)."""
    kind = _type_at(path)
    return get_origin(kind) is dict and _entry_of(kind) is not None


def is_table(path: KeyPath) -> bool:
    """Whether `path` holds settings, or named tables of them, and not a value."""
    return _model_of(_type_at(path)) is not None or has_chosen_names(path)


def is_text(path: KeyPath) -> bool:
    """Whether the key at `path` holds text, so that a variable's value is taken as it stands."""
    field = _field_at(path)
    if field is None:
        return path[0] == "models"
    return field.annotation in (str, SecretStr, Path) or get_origin(field.annotation) is Literal


def allowed(path: KeyPath) -> str:
    """Say what the key at `path` may hold."""
    field = _field_at(path)
    if is_table(path) or field is None:
        return "a table" if is_table(path) else _MODEL
    kind = _type_at(path)
    if get_origin(kind) is Literal:
        return " or ".join(f'"{value}"' for value in get_args(kind))
    if kind in (int, float):
        number = "a whole number" if kind is int else "a number"
        return f"{number} from {_bound(field, 'ge'):g} to {_bound(field, 'le'):.15g}"
    if kind is bool:
        return "true or false"
    if get_origin(kind) is tuple:
        return f"a list of {_how_many(field)}{_entries(kind)}"
    if get_origin(kind) is dict:
        return 'a table, like { a = "b" }'
    return _MODEL if path[0] == "models" else 'a text, like "x"'


def name_rule(table: KeyPath) -> str:
    """Say which names the operator may choose for the entries of `table`."""
    return _NAME_RULES[table[-1]]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A suggestion to append to a message on an unknown word; empty when nothing is close."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.8)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _field_at(path: KeyPath) -> FieldInfo | None:
    """The declaration of the key at `path`, or None for one that no model declares (a tier, a typo, a name)."""
    model = _model_of(_type_at(path[:-1]))
    return model.model_fields.get(path[-1]) if model else None


def _type_at(path: KeyPath) -> Any:
    """The type of what stands at `path`, without its `| None`; None where nothing is declared."""
    if not path:
        return Settings
    field = _field_at(path)
    if field is None:
        return _entry_of(_type_at(path[:-1]))
    choices = get_args(field.annotation)
    return choices[0] if NoneType in choices else field.annotation


def _model_of(kind: Any) -> type[Section] | None:
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def _entry_of(kind: Any) -> type[Section] | None:
    """What each entry of a table of named tables, or of a list of tables, is; None for any other type."""
    match get_origin(kind):
        case origin if origin is dict:
            return _model_of(get_args(kind)[1])
        case origin if origin is tuple:
            return _model_of(get_args(kind)[0])
        case _:
            return None


def _how_many(field: FieldInfo) -> str:
    """How many entries a list may have, where that is limited: `1 to 15 `."""
    least = next((rule.min_length for rule in field.metadata if hasattr(rule, "min_length")), 0)
    most = next((rule.max_length for rule in field.metadata if hasattr(rule, "max_length")), None)
    if most is None:
        return ""
    return f"{least} to {most} " if least else f"up to {most} "


def _entries(kind: Any) -> str:
    """What the entries of a list are, with an example."""
    if _entry_of(kind) is not None:
        return "tables, like [{ }, { }] or [[ ]] sections"
    entry = FieldInfo.from_annotation(get_args(kind)[0])
    if entry.annotation is float:
        return f"numbers from {_bound(entry, 'ge'):g} to {_bound(entry, 'le'):g}, like [1, 0.5]"
    return 'texts, like ["a", "b"]'


def _bound(field: FieldInfo, name: str) -> float:
    return next(float(getattr(rule, name)) for rule in field.metadata if hasattr(rule, name))
