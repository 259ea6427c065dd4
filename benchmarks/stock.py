"""Stock RQ on the same work: `SimpleWorker` in burst mode, one call a job over a kept connection.

Run as a process of its own, on the worker's core: Redis socket, URL. Prints jobs/s.
"""

from __future__ import annotations

import http.client
import sys
import time
from typing import Any
from urllib.parse import urlsplit

import orjson
import redis
from rq import Queue, SimpleWorker
from rq.serializers import JSONSerializer

_connection: http.client.HTTPConnection | None = None


def call(url: str, payload: str) -> dict[str, Any]:
    """The job: POST the request, parse the answer."""
    global _connection
    parts = urlsplit(url)
    if _connection is None:
        _connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    _connection.request("POST", parts.path, payload, {"Content-Type": "application/json"})
    answer: dict[str, Any] = orjson.loads(_connection.getresponse().read())
    return answer


def measure(socket: str, count: int) -> float:
    """Jobs per second of a burst; every result is counted."""
    client = redis.Redis(unix_socket_path=socket)
    queue = Queue("stock", connection=client, serializer=JSONSerializer)
    worker = SimpleWorker([queue], connection=client, serializer=JSONSerializer)
    started = time.perf_counter()
    worker.work(burst=True, logging_level="ERROR")
    took_s = time.perf_counter() - started
    finished = queue.finished_job_registry.get_job_count(cleanup=False)
    if finished != count:
        raise RuntimeError(f"{finished} of {count} jobs finished")
    return count / took_s


if __name__ == "__main__":
    print(measure(sys.argv[1], int(sys.argv[2])))
