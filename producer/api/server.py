"""The API server: uvicorn with the application, on one address."""

from __future__ import annotations

import uvicorn

from producer.api.app import create_app
from shared.providers import ProviderRegistry
from shared.settings import Settings

KEEP_ALIVE_S = 75
"""How long an idle connection is kept: longer than clients and proxies keep theirs, so that they close it."""


def serve(settings: Settings, registry: ProviderRegistry) -> None:
    """Serve until SIGINT or SIGTERM; calls in flight are finished first."""
    host, _, port = settings.api.bind.rpartition(":")
    config = uvicorn.Config(
        create_app(settings, registry),
        host=host.strip("[]"),
        port=int(port),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=10,
        h11_max_incomplete_event_size=64 * 1024,
    )
    uvicorn.Server(config).run()
