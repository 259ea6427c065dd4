"""The load: jobs of every kind, made from a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from producer import Lane, Submission
from simulator import text_digest

FALLBACK = "openrouter/m"


@dataclass(frozen=True)
class Load:
    """A mix of jobs.

    Attributes:
        model: Asked for; at the provider it is called `upstream_model`.
        clients: Who submits, in turn.
        fallback_share: Part of the jobs that may move on to the second provider.
        once_share: Part with `max_attempts` 1.
        deadline_share, deadline_s: Part with a deadline, from half to this long after the submit.
        cancel_share: Part that is cancelled at a random time.
        max_tokens: The request's cap; None = none.
        padding: Words added to the prompts, in turn.
        name: Tells the texts of loads apart.
    """

    jobs: int = 400
    model: str = "m"
    upstream_model: str | None = None
    clients: tuple[str, ...] = ("default",)
    lanes: tuple[Lane, ...] = (Lane.BATCH,)
    fallback_share: float = 0.0
    once_share: float = 0.0
    deadline_share: float = 0.0
    deadline_s: float = 2.0
    cancel_share: float = 0.0
    max_tokens: int | None = 16
    max_attempts: int | None = None
    padding: tuple[int, ...] = (0,)
    name: str = "load"


@dataclass(frozen=True)
class Planned:
    """One job to be submitted, and what may become of it."""

    submission: Submission
    text: str
    digests: frozenset[str]
    may_end: frozenset[str]
    is_to_cancel: bool


def plan(load: Load, rng: random.Random) -> Iterator[Planned]:
    """The jobs of a load; the same for the same generator state."""
    tag = f"{rng.getrandbits(48):012x}"
    for n in range(load.jobs):
        text = f"prompt {load.name} {tag} number {n}" + " lorem" * load.padding[n % len(load.padding)]
        request = {"model": load.model, "messages": [{"role": "user", "content": text}]}
        if load.max_tokens:
            request["max_tokens"] = load.max_tokens
        has_fallback = rng.random() < load.fallback_share
        if has_fallback:
            request["fallbacks"] = [FALLBACK]
        is_once = rng.random() < load.once_share
        has_deadline = rng.random() < load.deadline_share
        is_to_cancel = rng.random() < load.cancel_share
        ends = {"completed"}
        ends |= {"expired"} if has_deadline else set()
        ends |= {"cancelled"} if is_to_cancel else set()
        models = {load.upstream_model or load.model, "m" if has_fallback else load.model}
        yield Planned(
            Submission(
                request,
                lane=load.lanes[n % len(load.lanes)],
                client=load.clients[n % len(load.clients)],
                idempotency_key=f"{load.name}-{tag}-{n}",
                expires_in_s=rng.uniform(0.5, 1) * load.deadline_s if has_deadline else None,
                max_attempts=1 if is_once else load.max_attempts,
            ),
            text,
            frozenset(text_digest(model, "", text) for model in models),
            frozenset(ends),
            is_to_cancel,
        )
