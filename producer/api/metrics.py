"""`/metrics`: what this process measures of its calls, and what the fleet shows."""

from __future__ import annotations

from starlette.responses import Response

from producer.api.call import Call
from producer.api.operation import Operation, Reply
from producer.api.principal import Role
from shared.fleet_families import CONTENT_TYPE


async def get_metrics(call: Call) -> Response:
    """What this process and the fleet show, for Prometheus."""
    fleet = await call.services.fleet.read()
    return Response(call.services.metrics.render(fleet), media_type=CONTENT_TYPE)


OPERATIONS = (
    Operation(
        "GET",
        "/metrics",
        get_metrics,
        "Metrics of this process and of the fleet, for Prometheus",
        Role.READ,
        "operations",
        replies={200: Reply("Prometheus text", {"type": "string"}, "text/plain")},
        is_v1=False,
    ),
)
