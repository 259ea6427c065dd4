"""Schemas of responses (docs/openai-wire.md §8.2)."""

from __future__ import annotations

from typing import Any

from producer.responses.request import ResponsesRequest

_NULLABLE_TEXT = {"type": ["string", "null"]}

_USAGE = {
    "type": ["object", "null"],
    "required": [
        "input_tokens",
        "input_tokens_details",
        "output_tokens",
        "output_tokens_details",
        "total_tokens",
    ],
}


def _request() -> dict[str, Any]:
    """The body's schema, as it is validated."""
    schema = ResponsesRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    schema["properties"]["chatq"] = {
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {"webhook_url": {"type": ["string", "null"], "format": "uri"}},
        "description": "chatq's own: who is told when the response has ended",
    }
    return {"ResponsesRequest": schema, **schema.pop("$defs", {})}


SCHEMAS: dict[str, dict[str, Any]] = {
    **_request(),
    "Response": {
        "type": "object",
        "required": [
            "id",
            "object",
            "created_at",
            "status",
            "model",
            "output",
            "parallel_tool_calls",
            "tool_choice",
            "tools",
            "background",
            "store",
            "metadata",
            "error",
            "incomplete_details",
            "usage",
        ],
        "properties": {
            "id": {"type": "string", "pattern": "^resp_"},
            "object": {"const": "response"},
            "created_at": {"type": "integer"},
            "completed_at": {"type": ["number", "null"]},
            "status": {"enum": ["queued", "in_progress", "completed", "failed", "cancelled", "incomplete"]},
            "model": {"type": "string"},
            "output": {"type": "array", "items": {"$ref": "#/components/schemas/ResponseItem"}},
            "background": {"type": "boolean"},
            "store": {"type": "boolean"},
            "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
            "instructions": _NULLABLE_TEXT,
            "previous_response_id": _NULLABLE_TEXT,
            "parallel_tool_calls": {"type": "boolean"},
            "tool_choice": {"type": ["string", "object"]},
            "tools": {"type": "array", "items": {"type": "object"}},
            "error": {
                "type": ["object", "null"],
                "required": ["code", "message"],
                "properties": {
                    "code": {"enum": ["server_error", "rate_limit_exceeded", "invalid_prompt"]},
                    "message": {"type": "string"},
                },
            },
            "incomplete_details": {
                "type": ["object", "null"],
                "required": ["reason"],
                "properties": {"reason": {"enum": ["max_output_tokens", "content_filter"]}},
            },
            "usage": _USAGE,
            "chatq": {"type": "object", "description": "The job behind it: provider, times, tokens and cost"},
        },
    },
    "ResponseItem": {
        "type": "object",
        "required": ["id", "type"],
        "properties": {"id": {"type": "string"}, "type": {"type": "string"}},
    },
    "ResponseItemList": {
        "type": "object",
        "required": ["object", "data", "first_id", "last_id", "has_more"],
        "properties": {
            "object": {"const": "list"},
            "data": {"type": "array", "items": {"$ref": "#/components/schemas/ResponseItem"}},
            "first_id": _NULLABLE_TEXT,
            "last_id": _NULLABLE_TEXT,
            "has_more": {"type": "boolean"},
        },
    },
    "ResponseDeleted": {
        "type": "object",
        "required": ["id", "object", "deleted"],
        "properties": {
            "id": {"type": "string"},
            "object": {"const": "response"},
            "deleted": {"const": True},
        },
    },
}
