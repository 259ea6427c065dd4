"""A real worker with a bomb in it: `CHAOS_FAILPOINT=<step>:<n>` kills the process with SIGKILL at the n-th passage.

Steps: `claimed` (the reply of a claim is here, nothing sent), `sent` (a call is on its way), `answered` (its
answer is here, not settled), `finalize_sent` (the script ran, its reply is not read).
`janitor_dies` is no kill: that role raises at once.
`CHAOS_MUTATION=no-fence` takes the fence out of the finalize script, to prove that the checker sees it missing.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

from shared.store import scripts
from shared.store.grants import GrantStore
from worker.cli import worker
from worker.janitor import Janitor
from worker.upstream.http import HttpClient

STEP, _, NUMBER = os.environ.get("CHAOS_FAILPOINT", "").partition(":")
passages = 0

AsyncMethod = Callable[..., Awaitable[Any]]


def die_if_due() -> None:
    global passages
    passages += 1
    if passages == int(NUMBER):
        os.kill(os.getpid(), signal.SIGKILL)


def die_after(method: AsyncMethod) -> AsyncMethod:
    async def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = await method(self, *args, **kwargs)
        die_if_due()
        return result

    return wrapped


def die_during(method: AsyncMethod) -> AsyncMethod:
    async def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        asyncio.get_running_loop().call_later(0.005, die_if_due)
        return await method(self, *args, **kwargs)

    return wrapped


def arm() -> None:
    if STEP == "claimed":
        GrantStore.claim = die_after(GrantStore.claim)  # type: ignore[method-assign]
    elif STEP == "sent":
        HttpClient.post = die_during(HttpClient.post)  # type: ignore[method-assign]
    elif STEP == "answered":
        HttpClient.post = die_after(HttpClient.post)  # type: ignore[method-assign]
    elif STEP == "finalize_sent":
        GrantStore.finalize = die_after(GrantStore.finalize)  # type: ignore[method-assign]
    elif STEP == "janitor_dies":
        Janitor.run = die_at_once  # type: ignore[method-assign]


async def die_at_once(self: Janitor) -> None:
    raise RuntimeError("a bug in the janitor")


def remove_fence() -> None:
    load = scripts.load

    @cache
    def mutated(name: str, *, with_flags: bool) -> scripts.Script:
        script = load(name, with_flags=with_flags)
        if name != "finalize_jobs":
            return script
        text = script.text.replace("if TERMINAL[job.status] then", "if false then")
        text = text.replace(
            "if not (held and job.status == 'started' and f[2] == token) then", "if false then"
        )
        assert text.count("if false then") == 2, "the fence is not where this mutation looks for it"
        return scripts.make(name, text)

    scripts.load = mutated  # type: ignore[assignment]


if __name__ == "__main__":
    arm()
    if os.environ.get("CHAOS_MUTATION") == "no-fence":
        remove_fence()
    worker()
