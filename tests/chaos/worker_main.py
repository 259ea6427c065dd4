"""A real worker with something wrong in it, as the environment says.

- `CHAOS_FAILPOINT=<step>:<n>`: at the n-th passage of a step the process dies by SIGKILL. `:stop` behind it
  stops it by SIGSTOP instead, `:block=<s>` blocks its event loop for so long. Steps are in `STEPS`.
- `CHAOS_POISON=<text>`: dies when it sends a request that holds this text.
- `CHAOS_MUTATION=<name>`: runs without a guard (`mutations.py`), to prove that the checker sees it.
- `CHAOS_RESCUE_S=<s>`: the rescuer's interval, so that a run with short leases is short.
- `CHAOS_LATE=<path>`: a file that gets a line for each time its event loop was late: since when, until when.
- `CHAOS_TASKS=<path>`: a file that says how many asyncio tasks it has beside those that run its jobs.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from shared.errors import ChatqError
from shared.store import leases, scripts
from shared.store.grants import Claimed
from tests.chaos.mutations import MUTATIONS, mutate
from worker import rescuer
from worker.cli import worker
from worker.engine import Engine
from worker.janitor import Janitor
from worker.upstream.http import HttpClient

STEPS = {
    "claimed": "the script has granted jobs, the reply or the message is not read (W1)",
    "opened": "granted, the call not sent (W2)",
    "sent": "a call is on its way (W3)",
    "reading": "the answer's head is here, its body is not (W4)",
    "answered": "the answer is here, not settled (W5)",
    "finalize_sent": "the script has stored outcomes, the reply is not read (W6)",
    "renewed": "leases were renewed, the reply is not read",
    "released": "grants were given back, the reply is not read",
    "promoted": "due jobs were moved, the reply is not read",
    "rescued": "abandoned jobs were taken back, the reply is not read",
    "janitor_dies": "no kill: that role raises at once",
}

SCRIPT_STEPS = {
    "claim_jobs": "claimed",
    "finalize_jobs": "finalize_sent",
    "release_jobs": "released",
    "promote_jobs": "promoted",
    "rescue_jobs": "rescued",
}

step, number, action = (os.environ.get("CHAOS_FAILPOINT", "") + "::").split(":")[:3]
poison = os.environ.get("CHAOS_POISON", "").encode()
passages = 0

TELL_S = 0.25
"""How often it says how many tasks it has."""

TICK_S = 0.02
"""How often its loop is looked at."""

LATE_S = 0.03
"""From then on a look is late. A call's way leads through half a dozen turns of the loop, each as late."""


def reached(name: str) -> None:
    """This step was passed; act if it is the one, for the n-th time."""
    global passages
    if name != step:
        return
    passages += 1
    if passages != int(number):
        return
    if action.startswith("block="):
        time.sleep(float(action.removeprefix("block=")))
    else:
        os.kill(os.getpid(), signal.SIGSTOP if action == "stop" else signal.SIGKILL)


def did_something(name: str, reply: Any) -> bool:
    """Whether a script moved jobs: most claims, promotions and rescues find nothing."""
    match name:
        case "claim_jobs":
            return len(reply) > 3
        case "promote_jobs":
            return bool(reply[0] > 0)
        case "rescue_jobs":
            return any(reply)
    return True


def watch_scripts() -> None:
    run = scripts.ScriptRunner._run
    renew = leases.run_once

    async def watched(self: Any, script: scripts.Script, *args: Any) -> Any:
        reply = await run(self, script, *args)
        if script.name in SCRIPT_STEPS and did_something(script.name, reply):
            reached(SCRIPT_STEPS[script.name])
        return reply

    def watched_renewal(*args: Any, **kwargs: Any) -> Any:
        reply = renew(*args, **kwargs)
        reached("renewed")
        return reply

    hand = Engine.handed

    def watched_hand_over(self: Engine, nonce: str, claimed: Claimed | None) -> None:
        if claimed is not None and claimed.grants:
            reached("claimed")
        hand(self, nonce, claimed)

    scripts.ScriptRunner._run = watched  # type: ignore[method-assign]
    leases.run_once = watched_renewal
    Engine.handed = watched_hand_over  # type: ignore[method-assign]


def watch_calls() -> None:
    post, read = HttpClient.post, HttpClient._read

    async def watched(self: HttpClient, endpoint: Any, body: bytes, *args: Any) -> Any:
        if poison and poison in body:
            asyncio.get_running_loop().call_later(0.02, os.kill, os.getpid(), signal.SIGKILL)
        reached("opened")
        asyncio.get_running_loop().call_later(0.005, reached, "sent")
        reply = await post(self, endpoint, body, *args)
        reached("answered")
        return reply

    async def watched_read(self: HttpClient, response: Any, *args: Any) -> Any:
        reached("reading")
        return await read(self, response, *args)

    HttpClient.post = watched  # type: ignore[method-assign]
    HttpClient._read = watched_read  # type: ignore[method-assign]


async def die_at_once(self: Janitor) -> None:
    raise RuntimeError("a bug in the janitor")


def tell_tasks(path: Path) -> None:
    run = Engine.run

    async def watched(self: Engine, **kwargs: Any) -> None:
        loop = asyncio.get_running_loop()

        def tell() -> None:
            of_jobs = sum(slot.task is not None and not slot.task.done() for slot in self._slots.values())
            draft = path.with_suffix(".new")
            draft.write_text(str(len(asyncio.all_tasks()) - of_jobs))
            draft.replace(path)  # a reader finds a number at any time
            loop.call_later(TELL_S, tell)

        tell()
        await run(self, **kwargs)

    Engine.run = watched  # type: ignore[method-assign]


def tell_lateness(path: Path) -> None:
    run = Engine.run
    lines = path.open("a", buffering=1)  # for good: later there may be no file descriptor left

    async def watched(self: Engine, **kwargs: Any) -> None:
        loop = asyncio.get_running_loop()

        def look(since: float) -> None:
            now = time.time()
            if now - since > LATE_S:
                lines.write(f"{since} {now}\n")
            loop.call_later(TICK_S, look, now)

        look(time.time())
        await run(self, **kwargs)

    Engine.run = watched  # type: ignore[method-assign]


def main() -> None:
    if step and step not in STEPS:
        raise SystemExit(f"no such step: {step}")
    watch_scripts()
    watch_calls()
    if path := os.environ.get("CHAOS_LATE"):
        tell_lateness(Path(path))
    if path := os.environ.get("CHAOS_TASKS"):
        tell_tasks(Path(path))
    if step == "janitor_dies":
        Janitor.run = die_at_once  # type: ignore[method-assign]
    if name := os.environ.get("CHAOS_MUTATION"):
        mutate(MUTATIONS[name])
    rescuer.INTERVAL_S = float(os.environ.get("CHAOS_RESCUE_S", rescuer.INTERVAL_S))
    worker()


if __name__ == "__main__":
    try:
        main()
    except ChatqError as exc:  # as `python -m worker` does
        print(f"chatq: {exc}", file=sys.stderr)
        sys.exit(exc.exit_code)
