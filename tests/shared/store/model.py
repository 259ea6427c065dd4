"""A small model of jobs, and what Redis shows of them, for the stateful test of the scripts."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

import orjson
import redis

from shared.store.grants import Grant

TERMINAL = {"finished": "completed", "failed": "failed", "canceled": "cancelled"}
POISON_AFTER = 4


def provider_of(queue: str) -> str:
    return queue.rpartition(".")[0]


@dataclass
class ModelJob:
    """What one job should look like."""

    id: str
    queue: str
    size: int
    max_attempts: int
    has_deadline: bool
    status: str = "queued"
    token: str = ""
    attempts: int = 0
    abandoned: int = 0
    grants: int = 0
    ended_as: str | None = None
    """chatq's word for its outcome; never changes."""

    @property
    def is_live(self) -> bool:
        return self.status not in TERMINAL

    @property
    def is_suspect(self) -> bool:
        return self.abandoned >= 2

    def end(self, status: str, ended_as: str | None = None) -> None:
        assert self.is_live
        self.status, self.ended_as = status, ended_as or TERMINAL[status]


@dataclass
class ModelGrant:
    """One grant that was handed out."""

    grant: Grant
    job: ModelJob
    worker: str
    is_held: bool = True
    """Its lease stands, run out or not."""


@dataclass
class Model:
    """All jobs and grants so far."""

    jobs: dict[str, ModelJob] = field(default_factory=dict)
    grants: list[ModelGrant] = field(default_factory=list)

    def held(self) -> list[ModelGrant]:
        return [g for g in self.grants if g.is_held]

    def code_of_outcome(self, g: ModelGrant, status: str) -> str:
        """What `finalize_jobs` should answer."""
        job = g.job
        if not job.is_live:
            if not g.is_held and job.token == g.grant.token and status == job.status:
                return "same"
            return "revoked" if job.status == "canceled" else "stale"
        if g.is_held:
            return "ok"
        return "salvaged" if status == "finished" else "stale"

    def take_outcome(self, g: ModelGrant, status: str) -> None:
        """The change that goes with that code."""
        code = self.code_of_outcome(g, status)
        g.is_held = False
        if code in ("ok", "salvaged"):
            for other in self.grants:
                if other.job is g.job and other.grant.token == g.job.token:
                    other.is_held = False
            g.job.token = g.grant.token
            g.job.end(status)

    def rescue(self, members: set[str]) -> None:
        """Leases of these grants ran out and were taken."""
        for g in self.held():
            if g.grant.member not in members:
                continue
            g.is_held = False
            job = g.job
            if job.status != "started" or job.token != g.grant.token:
                continue
            job.abandoned += 1
            if job.max_attempts <= 1 or job.abandoned >= POISON_AFTER:
                job.end("failed")
            else:
                job.status = "queued"


class Snapshot:
    """Everything that Redis holds at one moment."""

    def __init__(self, raw: redis.Redis) -> None:
        self.lists: dict[str, list[str]] = {}
        self.zsets: dict[str, dict[str, float]] = {}
        self.sets: dict[str, set[str]] = {}
        self.hashes: dict[str, dict[str, str]] = {}
        self.strings: dict[str, str] = {}
        self.without_ttl: set[str] = set()
        keys = raw.keys("*")
        with raw.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.type(key)
                pipe.ttl(key)
            replies = pipe.execute()
        with raw.pipeline(transaction=False) as pipe:
            for key, kind in zip(keys, replies[::2], strict=True):
                self._read(pipe, key, kind)
            values = pipe.execute()
        for key, kind, ttl, value in zip(keys, replies[::2], replies[1::2], values, strict=True):
            match kind:
                case "list":
                    self.lists[key] = value
                case "zset":
                    self.zsets[key] = dict(value)
                case "set":
                    self.sets[key] = value
                case "hash":
                    self.hashes[key] = value
                case "string":
                    self.strings[key] = value
            if ttl == -1:
                self.without_ttl.add(key)

    @staticmethod
    def _read(pipe: redis.client.Pipeline, key: str, kind: str) -> None:
        match kind:
            case "list":
                pipe.lrange(key, 0, -1)
            case "zset":
                pipe.zrange(key, 0, -1, withscores=True)
            case "set":
                pipe.smembers(key)
            case "hash":
                pipe.hgetall(key)
            case "string":
                pipe.get(key)
            case _:
                pipe.exists(key)

    @property
    def leases(self) -> dict[str, float]:
        return self.zsets.get("chatq:leases", {})

    def job(self, job_id: str) -> dict[str, str]:
        return self.hashes[f"rq:job:{job_id}"]

    def scope(self, name: str) -> dict[str, float | str]:
        state: dict[str, float | str] = orjson.loads(self.strings.get(f"chatq:scope:{name}", "{}"))
        return state

    def slots(self, name: str) -> set[str]:
        return self.sets.get(f"chatq:slots:{name}", set())

    def lots(self) -> dict[tuple[str, str, str], list[str]]:
        """Ids by queue, client and label."""
        found = {}
        for key, ids in self.lists.items():
            if key.startswith("chatq:lot:"):
                place, _, label = key.removeprefix("chatq:lot:").partition("\n")
                queue, _, client = place.rpartition(":")
                found[queue, client, label] = ids
        return found

    def entries(self) -> Counter[tuple[str, str]]:
        """How often an id stands where its queue's jobs wait: (id, queue) or (id, provider) in quarantine."""
        found: Counter[tuple[str, str]] = Counter()
        for key, ids in self.lists.items():
            for prefix in ("rq:queue:", "chatq:quarantine:"):
                if key.startswith(prefix):
                    found.update((job_id, key.removeprefix(prefix)) for job_id in ids)
        for (queue, _, _), ids in self.lots().items():
            found.update((job_id, queue) for job_id in ids)
        return found


def check_places(model: Model, seen: Snapshot) -> None:
    """Each live job is in exactly one place, and in the right one."""
    entries, by_id = seen.entries(), Counter[str]()
    for (job_id, _), n in entries.items():
        by_id[job_id] += n
    leased = Counter(member.rpartition(":")[0] for member in seen.leases)
    for job in model.jobs.values():
        found = seen.job(job.id)
        assert (found["status"], found["origin"]) == (job.status, job.queue), job
        assert int(found.get("cq_attempts", 0)) == job.attempts, job
        assert int(found.get("cq_abandoned", 0)) == job.abandoned, job
        is_due = job.id in seen.zsets.get(f"rq:scheduled:{job.queue}", {})
        assert is_due == (job.status == "scheduled"), job
        if job.status == "queued":
            place = provider_of(job.queue) if job.is_suspect else job.queue
            assert (by_id[job.id], entries[job.id, place]) == (1, 1), (job, entries)
        elif job.is_live:
            assert by_id[job.id] == 0, (job, entries)
        assert leased[job.id] <= 1, (job, seen.leases)
        if job.status == "started":
            member = f"{job.id}:{job.token}"
            assert member in seen.leases, job
            assert member in seen.zsets.get(f"rq:wip:{job.queue}", {}), job
        if not job.is_live:
            assert f"rq:job:{job.id}" not in seen.without_ttl, job
            assert found["cq_state"] == job.ended_as, job
    assert set(seen.leases) == {g.grant.member for g in model.held()}


def check_lots(seen: Snapshot) -> None:
    """Whatever stands in a lot is counted, and somebody will look at it: it is ready, or held until a time."""
    aside: Counter[str] = Counter()
    for (queue, client, label), ids in seen.lots().items():
        aside[queue] += len(ids)
        is_ready = label in seen.zsets.get(f"chatq:ready:{queue}:{client}", {})
        is_ready = is_ready and client in seen.zsets.get(f"chatq:fair:{queue}", {})
        is_held = f"{client}\n{label}" in seen.zsets.get(f"chatq:later:{queue}", {})
        assert is_ready or is_held, (queue, client, label)
    counted = {
        key.removeprefix("chatq:aside:"): int(value)
        for key, value in seen.strings.items()
        if key.startswith("chatq:aside:")
    }
    assert counted == dict(aside)


def check_counters(model: Model, seen: Snapshot) -> None:
    """Jobs and payload by queue, deadlines of what waits, totals of what ended."""
    payload, unfinished = Counter[str](), Counter[str]()
    for job in model.jobs.values():
        if job.is_live:
            payload[job.queue] += job.size
            unfinished[job.queue] += 1
    for key, expected in (("chatq:payload", payload), ("chatq:unfinished", unfinished)):
        counted = {queue: int(n) for queue, n in seen.hashes.get(key, {}).items()}
        assert counted == dict(expected), key
    deadlines = seen.zsets.get("chatq:deadlines", {})
    for job in model.jobs.values():
        if job.status in ("queued", "scheduled"):
            assert (job.id in deadlines) == job.has_deadline, job
        elif not job.is_live:
            assert job.id not in deadlines, job
    totals = seen.hashes.get("chatq:totals", {})
    ended = Counter(job.ended_as for job in model.jobs.values() if job.ended_as)
    for word in ("completed", "failed", "cancelled", "expired"):
        assert int(totals.get(word, 0)) == ended[word], word
    assert int(totals.get("accepted", 0)) == len(model.jobs)


def check_slots(model: Model, seen: Snapshot, *, always_counted: tuple[str, ...]) -> None:
    """Nobody holds a slot without a lease; where slots are counted, every lease holds one."""
    for key, members in seen.sets.items():
        if key.startswith("chatq:slots:"):
            assert members <= set(seen.leases), key
    for provider in always_counted:
        running = {g.grant.member for g in model.held() if provider_of(g.grant.queue) == provider}
        assert seen.slots(f"account:{provider}") == running, provider


def check_grants(model: Model) -> None:
    """Tokens are unique, attempts bounded, suspects few."""
    members = [g.grant.member for g in model.grants]
    assert len(set(members)) == len(members)
    for job in model.jobs.values():
        assert job.attempts <= job.grants
    by_worker: defaultdict[str, list[ModelGrant]] = defaultdict(list)
    for g in model.held():
        if g.grant.abandoned >= 2:
            by_worker[g.worker].append(g)
    for suspects in by_worker.values():
        per_provider = Counter(provider_of(g.grant.queue) for g in suspects)
        assert max(per_provider.values()) <= 4
