"""The simulator's own pages, for tests and benchmarks.

- `GET /_sim/log?since=N`: records with a number above N, oldest first, as JSON lines.
- `GET /_sim/stats`: counts by status, wire and fault; calls in flight and their peak; tokens.
- `POST /_sim/reset`: forget records and counts, fill the limits; settings stay.
- `POST /_sim/set`: a JSON object with fields of `SimulatorConfig` to change; answers with all of them.
- `POST /_sim/outage`: `{"duration_s": 2.5}`; resets all connections and refuses new ones for so long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated
from urllib.parse import parse_qs

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from simulator.calllog import encode
from simulator.config import explain
from simulator.framing import JSON, NDJSON, Content, plain
from simulator.provider import Provider


class _Outage(BaseModel):
    """How long to be away."""

    model_config = ConfigDict(extra="forbid")

    duration_s: Annotated[float, Field(gt=0, le=3600)]


class Control:
    """Answers requests under `/_sim/`.

    Args:
        begin_outage: Closes the port for so many seconds, soon after it was called.
    """

    def __init__(self, provider: Provider, begin_outage: Callable[[float], None]) -> None:
        self._provider = provider
        self._begin_outage = begin_outage

    def answer(self, method: bytes, path: str, query: str, body: bytes) -> tuple[int, Content]:
        """Status and content for one request."""
        match (method, path):
            case (b"GET", "/_sim/log"):
                return self._log(query)
            case (b"GET", "/_sim/stats"):
                return 200, plain(JSON, orjson.dumps(self._provider.snapshot()))
            case (b"POST", "/_sim/reset"):
                self._provider.reset()
                return 200, plain(JSON, b"{}")
            case (b"POST", "/_sim/set"):
                return self._set(body)
            case (b"POST", "/_sim/outage"):
                return self._outage(body)
        return _error(
            404,
            "no such page: use GET /_sim/log, GET /_sim/stats, POST /_sim/reset, POST /_sim/set "
            "or POST /_sim/outage",
        )

    def _log(self, query: str) -> tuple[int, Content]:
        since = parse_qs(query).get("since", ["0"])[-1]
        if not since.isdecimal():
            return _error(400, "since must be a record number")
        return 200, plain(NDJSON, encode(self._provider.log.records(int(since))))

    def _set(self, body: bytes) -> tuple[int, Content]:
        try:
            changes = orjson.loads(body)
        except orjson.JSONDecodeError as exc:
            return _error(400, f"the body is not JSON: {exc}")
        if not isinstance(changes, dict):
            return _error(400, "the body must be a JSON object of settings")
        try:
            self._provider.configure(self._provider.config.changed(changes))
        except ValidationError as exc:
            return _error(400, explain(exc))
        except ValueError as exc:
            return _error(400, str(exc))
        return 200, plain(JSON, self._provider.config.model_dump_json().encode())

    def _outage(self, body: bytes) -> tuple[int, Content]:
        try:
            outage = _Outage.model_validate_json(body)
        except ValidationError as exc:
            return _error(400, explain(exc))
        self._begin_outage(outage.duration_s)
        return 200, plain(JSON, b"{}")


def _error(status: int, message: str) -> tuple[int, Content]:
    return status, plain(JSON, orjson.dumps({"error": message}))
