"""Schemas of batches."""

from __future__ import annotations

from typing import Any

from producer.batcher.lines import ENDPOINTS

_SECONDS = {"type": ["integer", "null"], "description": "Unix seconds"}
_COUNT = {"type": "integer", "minimum": 0}
_TEXT_OR_NULL = {"type": ["string", "null"]}

STATUSES = (
    "validating",
    "failed",
    "in_progress",
    "finalizing",
    "completed",
    "expired",
    "cancelling",
    "cancelled",
)
METADATA: dict[str, Any] = {
    "type": ["object", "null"],
    "maxProperties": 16,
    "propertyNames": {"maxLength": 64},
    "additionalProperties": {"type": "string", "maxLength": 512},
}

SCHEMAS: dict[str, Any] = {
    "Batch": {
        "type": "object",
        "required": [
            "id", "object", "endpoint", "input_file_id", "completion_window", "status", "output_file_id",
            "error_file_id", "created_at", "expires_at", "request_counts", "usage", "errors", "metadata", "chatq",
        ],
        "properties": {
            "id": {"type": "string"},
            "object": {"const": "batch"},
            "endpoint": {"enum": list(ENDPOINTS)},
            "model": {**_TEXT_OR_NULL, "description": "What all lines ask for, if that is one"},
            "input_file_id": {"type": "string"},
            "completion_window": {"type": "string"},
            "status": {"enum": list(STATUSES)},
            "output_file_id": {**_TEXT_OR_NULL, "description": "Once it has ended; before, see `chatq`"},
            "error_file_id": _TEXT_OR_NULL,
            "created_at": {"type": "integer"},
            **{
                f"{name}_at": _SECONDS
                for name in (
                    "in_progress", "expires", "finalizing", "completed", "failed", "expired", "cancelling",
                    "cancelled",
                )
            },
            "request_counts": {
                "type": "object",
                "required": ["total", "completed", "failed"],
                "properties": {"total": _COUNT, "completed": _COUNT, "failed": _COUNT},
            },
            "usage": {
                "type": "object",
                "required": [
                    "input_tokens", "input_tokens_details", "output_tokens", "output_tokens_details",
                    "total_tokens",
                ],
                "properties": {
                    "input_tokens": _COUNT,
                    "input_tokens_details": {
                        "type": "object",
                        "required": ["cached_tokens"],
                        "properties": {"cached_tokens": _COUNT},
                    },
                    "output_tokens": _COUNT,
                    "output_tokens_details": {
                        "type": "object",
                        "required": ["reasoning_tokens"],
                        "properties": {"reasoning_tokens": _COUNT},
                    },
                    "total_tokens": _COUNT,
                },
            },
            "errors": {
                "type": ["object", "null"],
                "required": ["object", "data"],
                "properties": {
                    "object": {"const": "list"},
                    "data": {"type": "array", "items": {"$ref": "#/components/schemas/BatchError"}},
                },
            },
            "metadata": METADATA,
            "chatq": {"$ref": "#/components/schemas/BatchProgress"},
        },
    },
    "BatchError": {
        "type": "object",
        "required": ["code", "message", "param", "line"],
        "properties": {
            "code": {"type": "string"},
            "message": {"type": "string"},
            "param": _TEXT_OR_NULL,
            "line": {"type": ["integer", "null"], "description": "Of the input file, from 1"},
        },
    },
    "BatchProgress": {
        "type": "object",
        "description": "What chatq knows of a batch beyond OpenAI's fields",
        "required": ["progress", "rate_per_s", "eta_s", "cost_usd", "cost_unknown", "failures", "lane"],
        "properties": {
            "progress": {"type": "number", "minimum": 0, "maximum": 1, "description": "Share of lines that ended"},
            "rate_per_s": {"type": "number", "description": "Lines a second, lately"},
            "eta_s": {"type": ["number", "null"], "description": "Seconds to go at this rate"},
            "cost_usd": {"type": ["number", "null"], "description": "Of the calls whose cost is known"},
            "cost_unknown": {**_COUNT, "description": "Calls that may be billed and whose cost nobody knows"},
            "failures": {"type": "object", "additionalProperties": _COUNT, "description": "Lines by error code"},
            "lane": {"enum": ["interactive", "default", "batch"]},
            "webhook_url": _TEXT_OR_NULL,
            "retry_of": {**_TEXT_OR_NULL, "description": "The batch whose failed lines these are"},
            "output_file_id": {**_TEXT_OR_NULL, "description": "Can be read while the batch runs"},
            "error_file_id": _TEXT_OR_NULL,
        },
    },
    "BatchList": {
        "type": "object",
        "required": ["object", "data", "first_id", "last_id", "has_more"],
        "properties": {
            "object": {"const": "list"},
            "data": {"type": "array", "items": {"$ref": "#/components/schemas/Batch"}},
            "first_id": _TEXT_OR_NULL,
            "last_id": _TEXT_OR_NULL,
            "has_more": {"type": "boolean"},
        },
    },
    "BatchRequest": {
        "type": "object",
        "required": ["input_file_id", "endpoint", "completion_window"],
        "properties": {
            "input_file_id": {"type": "string"},
            "endpoint": {"enum": list(ENDPOINTS)},
            "completion_window": {
                "type": "string",
                "pattern": "^[0-9]{1,7}[smhd]$",
                "description": "Lines that are not answered by then expire: 30m, 1h, 24h, 7d; 30d at most",
            },
            "metadata": METADATA,
            "output_expires_after": {
                "type": ["object", "null"],
                "required": ["anchor", "seconds"],
                "properties": {
                    "anchor": {"const": "created_at"},
                    "seconds": {"type": "integer", "minimum": 3600, "maximum": 2592000},
                },
            },
            "chatq": {
                "type": ["object", "null"],
                "properties": {
                    "lane": {"enum": ["interactive", "default", "batch"]},
                    "webhook_url": _TEXT_OR_NULL,
                },
                "additionalProperties": False,
            },
        },
    },
}  # fmt: skip
