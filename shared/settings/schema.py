"""What a settings key may hold, in words, read off the models so that it cannot differ from them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from shared.settings.provider import ProviderSettings
from shared.settings.raw import KeyPath
from shared.settings.section import Section
from shared.settings.tree import SECTIONS, Settings

_MODEL = "a model name, 1 to 256 characters"


def keys_of(table: KeyPath) -> tuple[str, ...]:
    """The keys that the table at `table` declares; () is the file itself."""
    if not table:
        return SECTIONS
    model = _model_of(table)
    return tuple(model.model_fields) if model else ()


def field_at(path: KeyPath) -> FieldInfo | None:
    """The declaration of the key at `path`, or None for one that no model declares (a tier, a typo)."""
    model = _model_of(path[:-1])
    return model.model_fields.get(path[-1]) if model else None


def is_text(path: KeyPath) -> bool:
    """Whether the key at `path` holds text, so that a variable's value is taken as it stands."""
    field = field_at(path)
    if field is None:
        return path[0] == "models"
    return field.annotation in (str, SecretStr, Path) or get_origin(field.annotation) is Literal


def allowed(path: KeyPath) -> str:
    """Say what the key at `path` may hold."""
    field = field_at(path)
    if field is None:
        return _MODEL if path[0] == "models" and len(path) > 1 else "a table"
    if get_origin(field.annotation) is Literal:
        return " or ".join(f'"{value}"' for value in get_args(field.annotation))
    if field.annotation in (int, float):
        kind = "a whole number" if field.annotation is int else "a number"
        return f"{kind} from {_bound(field, 'ge'):g} to {_bound(field, 'le'):.12g}"
    if field.annotation is bool:
        return "true or false"
    if get_origin(field.annotation) is tuple:
        return 'a list of texts, like ["a", "b"]'
    if get_origin(field.annotation) is dict:
        return 'a table, like { a = "b" }'
    return _MODEL if path[0] == "models" else 'a text, like "x"'


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A suggestion to append to a message on an unknown word; empty when nothing is close."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.8)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _model_of(table: KeyPath) -> type[Section] | None:
    match table:
        case ("providers", _):
            return ProviderSettings
        case (section,) if section in SECTIONS:
            model: Any = Settings.model_fields[section].annotation
            return model if isinstance(model, type) and issubclass(model, Section) else None
        case _:
            return None


def _bound(field: FieldInfo, name: str) -> float:
    return next(float(getattr(rule, name)) for rule in field.metadata if hasattr(rule, name))
