"""RQ's commands to a worker, as `send_shutdown_command` and `send_stop_job_command` publish them."""

from __future__ import annotations

from collections.abc import Callable

import orjson


def dispatch(message: bytes, *, shutdown: Callable[[], None], stop_job: Callable[[str], None]) -> None:
    """Act on one message; anything that is not a command we know is ignored, because anybody can publish.

    Args:
        message: JSON `{"command": "shutdown"}` or `{"command": "stop-job", "job_id": …}`.
    """
    try:
        payload = orjson.loads(message)
    except orjson.JSONDecodeError:
        return
    match payload:
        case {"command": "shutdown"}:
            shutdown()
        case {"command": "stop-job", "job_id": str(job_id)}:
            stop_job(job_id)
