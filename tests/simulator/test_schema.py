from __future__ import annotations

from typing import Any

import pytest

from simulator.refusals import InvalidRequest
from simulator.schema import instance

TREE: dict[str, Any] = {
    "$ref": "#/$defs/Node",
    "$defs": {
        "Node": {
            "type": "object",
            "properties": {
                "left": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
                "name": {"type": "string"},
            },
            "required": ["left", "name"],
        }
    },
}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string"}, "said"),
        ({"type": "STRING"}, "said"),
        ({"type": ["null", "boolean"]}, True),
        ({"const": 3}, 3),
        ({"enum": ["b", "a"]}, "b"),
        ({"type": "integer", "minimum": 7}, 7),
        ({"type": "number", "maximum": 0.5}, 0.5),
        ({"type": "array", "items": {"type": "integer"}}, [1]),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 3}, [1, 1, 1]),
        ({"oneOf": [{"type": "integer"}, {"type": "string"}]}, 1),
        ({"properties": {"a": {"type": "string"}, "b": {"type": "string"}}}, {"a": "said", "b": "amber"}),
        ({"type": "object", "properties": {"a": {}, "b": {}}, "required": ["b"]}, {"b": "said"}),
        ({"$ref": "#/definitions/x", "definitions": {"x": {"type": "null"}}}, None),
        ({}, "said"),
    ],
)
def test_instance_keeps_to_schema(schema: dict[str, Any], expected: Any) -> None:
    """Each keyword the module names, and the text in the first string."""
    assert instance(schema, "said") == expected


def test_schema_that_contains_itself_ends() -> None:
    """Deep down the way out is taken."""
    node, depth = instance(TREE, "said"), 0
    while node is not None:
        assert node["name"]
        node, depth = node["left"], depth + 1
    assert 1 < depth < 20


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/nowhere"},
        {"$ref": "#"},
        {
            "type": "array",
            "items": {"type": "array", "items": {"type": "null"}, "minItems": 99},
            "minItems": 99,
        },
    ],
)
def test_schema_made_to_exhaust_is_refused(schema: dict[str, Any]) -> None:
    """Nothing is written for it."""
    with pytest.raises(InvalidRequest):
        instance(schema, "said")
