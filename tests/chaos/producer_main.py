"""A producer process that dies in a batch: `python -m tests.chaos.producer_main <jobs> <die after>`.

Submits jobs with keys `batch-0` …, and dies by SIGKILL when so many enqueue scripts have run, their reply unread.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

from producer import Producer, Submission
from shared.providers import ProviderRegistry
from shared.settings import load_settings
from shared.store import scripts


def batch(jobs: int) -> list[Submission]:
    """The batch, the same in every process."""
    return [
        Submission(
            {"model": "m", "messages": [{"role": "user", "content": f"batch line {n}"}]},
            idempotency_key=f"batch-{n}",
        )
        for n in range(jobs)
    ]


async def submit(jobs: int, die_after: int) -> None:
    send, sent = scripts.ScriptRunner._run, 0

    async def watched(self: Any, script: scripts.Script, *args: Any) -> Any:
        nonlocal sent
        reply = await send(self, script, *args)
        sent += script.name == "enqueue_jobs"
        if sent == die_after:
            os.kill(os.getpid(), signal.SIGKILL)
        return reply

    scripts.ScriptRunner._run = watched  # type: ignore[method-assign]
    settings = load_settings(env=os.environ)
    registry = ProviderRegistry.from_settings(settings, env=os.environ)
    async with Producer.open(settings, registry=registry) as producer:
        await producer.submit_many(batch(jobs))


if __name__ == "__main__":
    asyncio.run(submit(int(sys.argv[1]), int(sys.argv[2])))
