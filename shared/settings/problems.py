"""Validation errors as one line: the place, what is wrong with it, what is allowed; never a secret."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from shared.settings.raw import KeyPath, RawSettings, place
from shared.settings.schema import allowed, did_you_mean, is_table, is_text, keys_of, name_rule

SHOWN = 5
"""Problems spelled out in one message; the rest is counted."""

_KINDS: tuple[tuple[type, str], ...] = (
    (str, "a text"),
    (bool, "true or false"),
    (int, "a whole number"),
    (float, "a number"),
    (list, "a list"),
    (dict, "a table"),
)


def describe(error: ValidationError, raw: RawSettings) -> str:
    """Put a validation error into one line for the operator."""
    problems = [_one(details, raw) for details in error.errors(include_url=False) if not _is_echo(details)]
    more = f" (and {len(problems) - SHOWN} more)" if len(problems) > SHOWN else ""
    return "; ".join(problems[:SHOWN]) + more


def _is_echo(details: ErrorDetails) -> bool:
    """Whether it says of a list only that entries are missing which others of these errors are about."""
    return details["type"] == "too_short" and len(details["input"]) >= details["ctx"]["min_length"]


def _one(details: ErrorDetails, raw: RawSettings) -> str:
    # Rules between sections carry the key they are about.
    path: KeyPath = details.get("ctx", {}).get("path") or tuple(
        place(part) if isinstance(part, int) else part for part in details["loc"]
    )
    if path[-1] == "[key]":
        return f"{raw.label(path[:-2])} {path[-2]!r} is not {name_rule(path[:-2])}"
    match details["type"]:
        case "extra_forbidden":
            return unknown(path, raw)
        case "value_error":
            return f"{raw.label(_field(path))} {details['ctx']['error']}"
        case "unknown_provider" | "different_limits" | "wrong_group":
            return f"{raw.label(path)} {details['msg']}"
        case "missing":
            return f"{raw.label(path)} is missing; allowed: {allowed(path)}"
        case "too_long" | "too_short":
            return f"{raw.label(path)} has {len(details['input'])} entries; allowed: {allowed(path)}"
    if _field(path) != path:
        key = _field(path)
        return f"{raw.label(key)} has an entry that is {_kind(details['input'])}; allowed: {allowed(key)}"
    return f"{raw.label(path)} is {_found(path, details)}; allowed: {allowed(path)}"


def _field(path: KeyPath) -> KeyPath:
    """The setting that a list item or a table entry belongs to; any other path as it is."""
    return path if is_table(path[:-1]) else path[:-1]


def unknown(path: KeyPath, raw: RawSettings) -> str:
    """Say that no setting is called `path`, and which ones there are."""
    known = keys_of(path[:-1])
    kind = "section" if len(path) == 1 else "key"
    suggestion = did_you_mean(path[-1], known)
    return f"{raw.label(path)} is not a known {kind}{suggestion}; allowed: {', '.join(known)}"


def _found(path: KeyPath, details: ErrorDetails) -> str:
    value = details["input"]
    # Where a number or a word of a fixed list belongs, no secret does; any other text might be one.
    is_harmless = isinstance(value, int | float) and not is_text(path)
    if details["type"] == "literal_error" or is_harmless:
        return str(value).lower() if isinstance(value, bool) else repr(value)
    if details["type"] == "string_too_long":
        return "too long"
    return _kind(value)


def _kind(value: Any) -> str:
    if value == "":
        return "empty"
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "a date or time")
