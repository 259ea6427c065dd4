"""JSON Schemas as Anthropic's structured outputs want them."""

from __future__ import annotations

from typing import Any

MAX_DEPTH = 100
"""Schemas below this level are left as they are."""

_SCHEMA = ("items", "additionalProperties")
_SCHEMAS = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED_SCHEMAS = ("properties", "$defs", "definitions")
"""Keywords whose value is a schema, a list of them, or an object of them."""


def closed(schema: Any, depth: int = 0) -> Any:
    """The schema with every object closed that does not say itself whether it is: an open one is a 400.

    Args:
        schema: JSON Schema; it is not changed.
        depth: How deep it lies.
    """
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return schema
    result = dict(schema)
    for name in _SCHEMA:
        if isinstance(result.get(name), dict):
            result[name] = closed(result[name], depth + 1)
    for name in _SCHEMAS:
        if isinstance(result.get(name), list):
            result[name] = [closed(member, depth + 1) for member in result[name]]
    for name in _NAMED_SCHEMAS:
        if isinstance(result.get(name), dict):
            result[name] = {key: closed(member, depth + 1) for key, member in result[name].items()}
    if result.get("type") == "object":
        result.setdefault("additionalProperties", False)
    return result
