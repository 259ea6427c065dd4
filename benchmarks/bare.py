"""The yardstick: the same calls from a bare aiohttp loop on uvloop, without any queue.

Run as a process of its own, on the worker's core: URL, number of calls, calls in flight. Prints calls/s.
"""

from __future__ import annotations

import asyncio
import sys
import time

import aiohttp
import orjson
import uvloop

from benchmarks.lab import body


async def measure(url: str, count: int, in_flight: int) -> float:
    """Calls per second: POST the request, read the answer, parse it."""
    payload, left = body(), count
    headers = {"Content-Type": "application/json", "Authorization": "Bearer x"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:

        async def loop() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                async with session.post(url, data=payload, headers=headers) as response:
                    answer = orjson.loads(await response.read())
                if not answer["choices"]:
                    raise RuntimeError("no answer")

        started = time.perf_counter()
        await asyncio.gather(*(loop() for _ in range(in_flight)))
        return count / (time.perf_counter() - started)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(runner.run(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
