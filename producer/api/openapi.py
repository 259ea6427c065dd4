"""The description of the API: OpenAPI 3.1, made from the operations, and a page that shows it.

Nothing is written twice: paths, roles and parameters are those of the routes, schemas stand beside the handlers
that answer with them.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from producer.api.operation import JSON, SSE, Operation, Param, Reply
from shared.chat import ChatRequest
from shared.version import VERSION

ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}

EVENT = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("event", "id", "data")},
}
"""One server-sent event: its fields."""

DESCRIPTION = """OpenAI's API over a queue: the same calls go to any provider, wait for their turn instead of
failing, and survive restarts. Every path may also be called without `/v1`."""

_PATH_TYPE = re.compile(r":path}")


def describe(operations: Iterable[Operation], schemas: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The OpenAPI document.

    Args:
        schemas: Of each resource, by name; they are merged.
    """
    components: dict[str, Any] = {"Error": ERROR, **_chat_request()}
    for some in schemas:
        components |= some
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        path = _PATH_TYPE.sub("}", operation.path)
        paths.setdefault(f"/v1{path}" if operation.is_v1 else path, {})[operation.method.lower()] = (
            _operation(operation)
        )
    return {
        "openapi": "3.1.0",
        "info": {"title": "chatq", "version": VERSION, "description": DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _chat_request() -> dict[str, Any]:
    """The request's schema, as it is validated, with the streaming that a queued job itself has not."""
    schema = ChatRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    schema["properties"]["stream"] = {"type": ["boolean", "null"]}
    schema["properties"]["metadata"] = {
        "type": ["object", "null"],
        "maxProperties": 16,
        "additionalProperties": {"type": "string", "maxLength": 512},
    }
    return {"ChatRequest": schema, **schema.pop("$defs", {})}


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": f"{operation.method.lower()}{re.sub(r'[^a-z]+', '_', operation.path)}".rstrip("_"),
        "summary": operation.summary,
        "tags": [operation.tag],
        "responses": {str(status): _reply(reply) for status, reply in operation.replies.items()},
        "security": [] if operation.role is None else [{"token": []}],
        "x-role": operation.role.value if operation.role else None,
    }
    described["responses"]["default"] = {
        "description": "An error",
        "content": {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    if operation.params:
        described["parameters"] = [_param(param) for param in operation.params]
    if operation.body is not None:
        described["requestBody"] = {
            "required": operation.body.is_required,
            "content": {operation.body.media: {"schema": operation.body.schema}},
        }
    return described


def _reply(reply: Reply) -> dict[str, Any]:
    if reply.schema is None:
        return {"description": reply.description}
    content: dict[str, Any] = {reply.media: {"schema": reply.schema}}
    if reply.or_events:
        content[SSE] = {"schema": EVENT}
    return {"description": reply.description, "content": content}


def _param(param: Param) -> dict[str, Any]:
    return {
        "name": param.name,
        "in": param.where,
        "required": param.where == "path",
        "schema": param.schema,
        "description": param.description,
    }


def page(document: Mapping[str, Any]) -> str:
    """The same for people: a page without scripts, so that it is shown anywhere."""
    return _PAGE.format(version=html.escape(document["info"]["version"]), rows="".join(_rows(document)))


def _rows(document: Mapping[str, Any]) -> Iterator[str]:
    tag = None
    for path, methods in document["paths"].items():
        for method, one in methods.items():
            if one["tags"][0] != tag:
                tag = one["tags"][0]
                yield f"<h2>{html.escape(tag)}</h2>"
            yield _ROW.format(
                method=method.upper(),
                path=html.escape(path),
                role=one["x-role"] or "anybody",
                summary=html.escape(one["summary"]),
                params="".join(_shown(param) for param in one.get("parameters", ())),
            )


def _shown(param: Mapping[str, Any]) -> str:
    text = f"{param['name']} ({param['in']}): {param['description']}"
    return f"<li>{html.escape(text)}</li>"


_ROW = """<details><summary><b>{method}</b> <code>{path}</code> {summary} <i>({role})</i></summary>
<ul>{params}</ul></details>
"""

_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>chatq {version}</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}}
code{{background:#8882;padding:.1em .3em}}summary{{cursor:pointer}}i{{opacity:.7}}</style></head>
<body><h1>chatq {version}</h1><p>Base URL for OpenAI's clients: this address and <code>/v1</code>.
The whole description: <a href="/openapi.json">openapi.json</a>.</p>
{rows}</body></html>
"""
