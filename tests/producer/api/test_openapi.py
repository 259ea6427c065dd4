"""The description of the API: complete, valid, and shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from jsonschema import Draft202012Validator

from producer.api.app import OPERATIONS

REFERENCE = Path(__file__).parents[3] / "producer" / "api" / "README.md"


def references(value: Any) -> Iterator[str]:
    """Every `$ref` anywhere inside."""
    if isinstance(value, dict):
        yield from (ref for ref in [value.get("$ref")] if isinstance(ref, str))
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def shown_path(path: str) -> str:
    return path.replace(":path}", "}")


async def document(api: httpx.AsyncClient) -> dict[str, Any]:
    return dict((await api.get("/openapi.json")).json())


async def test_every_operation_is_described(api: httpx.AsyncClient) -> None:
    described = {
        (method.upper(), path)
        for path, methods in (await document(api))["paths"].items()
        for method in methods
    }
    assert described == {
        (one.method, f"/v1{shown_path(one.path)}" if one.is_v1 else shown_path(one.path))
        for one in OPERATIONS
    }


async def test_operation_ids_are_unique(api: httpx.AsyncClient) -> None:
    paths = (await document(api))["paths"]
    ids = [one["operationId"] for methods in paths.values() for one in methods.values()]
    assert len(ids) == len(set(ids))


async def test_references_lead_somewhere_and_schemas_are_schemas(api: httpx.AsyncClient) -> None:
    found = await document(api)
    schemas = found["components"]["schemas"]
    assert {ref.removeprefix("#/components/schemas/") for ref in references(found)} <= schemas.keys()
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)


async def test_page_names_every_path(api: httpx.AsyncClient) -> None:
    page = await api.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert [path for path in (await document(api))["paths"] if f"<code>{path}</code>" not in page.text] == []


def test_reference_lists_every_route_and_no_other() -> None:
    listed = set(re.findall(r"^\| `([A-Z]+) (/[^`]*)`", REFERENCE.read_text(), re.MULTILINE))
    assert listed == {(one.method, shown_path(one.path)) for one in OPERATIONS}
