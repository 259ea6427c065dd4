"""An event under the names of OpenTelemetry's semantic conventions for generative AI.

For a collector that reads lines of JSON. What the conventions have no name for goes under `chatq.`.
"""

from __future__ import annotations

from typing import Any

from shared.store.telemetry import Event

NAMES = {
    "provider": "gen_ai.provider.name",
    "requested_model": "gen_ai.request.model",
    "model": "gen_ai.response.model",
    "input_total": "gen_ai.usage.input_tokens",
    "input_cached": "gen_ai.usage.cache_read.input_tokens",
    "output_total": "gen_ai.usage.output_tokens",
    "reasoning": "gen_ai.usage.reasoning.output_tokens",
    "error": "error.type",
    "status": "http.response.status_code",
}
"""Our field → the convention's attribute (https://opentelemetry.io/docs/specs/semconv/gen-ai, status: development).
`gen_ai.response.model` is the model that was called: what the answer calls itself is not kept."""


def genai_attributes(event: Event) -> dict[str, Any]:
    """The event as attributes; what is not known is left out. The time is a text, as in OTLP's JSON."""
    attributes: dict[str, Any] = {"gen_ai.operation.name": "chat"}
    for name, value in event.fields.items():
        if value is not None and name != "type":
            attributes[NAMES.get(name, f"chatq.{name}")] = value
    return {
        "time_unix_nano": str(round(event.at * 1e3) * 1_000_000),
        "name": f"chatq.{event.kind}",
        "attributes": attributes,
    }
