"""OpenTelemetry's names for what an event says."""

from __future__ import annotations

from producer.telemetry import genai_attributes
from shared.store.telemetry import Event


def test_known_facts_have_the_conventions_names() -> None:
    """All others are chatq's own; what is unknown is left out."""
    fields = {
        "type": "attempt", "job": "j", "provider": "p", "requested_model": "auto", "model": "m", "input_total": 3,
        "output_total": 4, "error": "server_error", "status": 500, "cost_usd": None,
    }  # fmt: skip
    assert genai_attributes(Event(1.5, "attempt", fields)) == {
        "time_unix_nano": "1500000000",
        "name": "chatq.attempt",
        "attributes": {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "p",
            "gen_ai.request.model": "auto",
            "gen_ai.response.model": "m",
            "gen_ai.usage.input_tokens": 3,
            "gen_ai.usage.output_tokens": 4,
            "error.type": "server_error",
            "http.response.status_code": 500,
            "chatq.job": "j",
        },
    }
