"""An instance of a JSON Schema: what a model writes that keeps to it.

Honoured are `$ref`, `const`, `enum`, `anyOf`/`oneOf`/`allOf` (their first branch), `type` (in either case, Gemini's
is upper), `properties` with `required`, `items` with `minItems`, `minimum` and `maximum`. Optional properties are
left out where the schema says which ones are required.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from simulator.refusals import InvalidRequest

_MAX_NODES = 1000
"""Values in one instance; more is a schema made to exhaust its reader."""
_DEEP = 8
"""Nesting from which on the shortest way out is taken, so that a schema that contains itself ends."""
_FILLER = "amber"


def instance(schema: Mapping[str, Any], text: str) -> Any:
    """A value the schema accepts; its first string is `text`.

    Raises:
        InvalidRequest: The schema refers to nothing, or asks for too much.
    """
    return _Author(schema, text).value(schema, 0)


class _Author:
    """Writes one instance."""

    def __init__(self, root: Mapping[str, Any], text: str) -> None:
        self._root = root
        self._texts = itertools.chain((text,), itertools.repeat(_FILLER))
        self._left = _MAX_NODES

    def value(self, schema: Any, depth: int) -> Any:
        """A value for a part of the schema."""
        self._left -= 1
        if self._left < 0 or depth > 4 * _DEEP:
            raise InvalidRequest("the schema is too large or nested too deep")
        if not isinstance(schema, Mapping):
            return next(self._texts)
        if "$ref" in schema:
            return self.value(self._referred(schema["$ref"]), depth + 1)
        if "const" in schema:
            return schema["const"]
        if isinstance(schema.get("enum"), list) and schema["enum"]:
            return schema["enum"][0]
        for name in ("anyOf", "oneOf", "allOf"):
            if isinstance(schema.get(name), list) and schema[name]:
                return self.value(_branch(schema[name], depth), depth + 1)
        return self._typed(_type(schema), schema, depth)

    def _typed(self, kind: str, schema: Mapping[str, Any], depth: int) -> Any:
        match kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                least = schema.get("minItems")
                count = least if isinstance(least, int) else int(depth <= _DEEP)
                return [self.value(schema.get("items"), depth + 1) for _ in range(min(count, _MAX_NODES))]
            case "integer" | "number":
                return _number(schema)
            case "boolean":
                return True
            case "null":
                return None
        return next(self._texts)

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties, required = schema.get("properties"), schema.get("required")
        parts = properties if isinstance(properties, Mapping) else {}
        names = required if isinstance(required, list) else list(parts)
        return {str(name): self.value(parts.get(str(name)), depth + 1) for name in names}

    def _referred(self, reference: Any) -> Any:
        """What a `$ref` within the schema points to."""
        found: Any = self._root
        for step in str(reference).removeprefix("#").strip("/").split("/"):
            if step and (not isinstance(found, Mapping) or step not in found):
                raise InvalidRequest(f"the schema has no {reference!r}")
            found = found[step] if step else found
        return found


def _branch(branches: list[Any], depth: int) -> Any:
    """The first branch; deep down one that says null, if there is one."""
    if depth > _DEEP:
        return next((branch for branch in branches if branch == {"type": "null"}), branches[0])
    return branches[0]


def _type(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    return str(kind).lower()


def _number(schema: Mapping[str, Any]) -> int | float:
    bounds = [schema.get("minimum", 1), schema.get("maximum")]
    return min((bound for bound in bounds if isinstance(bound, int | float)), default=1)
