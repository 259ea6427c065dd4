"""Every Redis key chatq touches: name, type, content, life time.

RQ's own keys (prefix `rq:`) keep RQ's layout, so that `rq info`, `Job.fetch` and a stock worker read them.
chatq's keys have the prefix `chatq:`. The scripts build the same names; a test compares the two.

Permanent (bounded) keys: `rq:queues`, `rq:workers`, `chatq:totals`, `chatq:lanes:<provider>`, `chatq:events`
(capped), `chatq:leases` and the queues and registries, which hold only live entries. All else has a TTL once
its job has ended.
"""

from __future__ import annotations

QUEUES = "rq:queues"
"""Set of queue keys (`rq:queue:<name>`). Permanent."""

WORKERS = "rq:workers"
"""Set of worker keys (`rq:worker:<name>`). Permanent; the janitor drops the dead."""

SUSPENDED = "rq:suspended"
"""String; exists while `rq suspend` holds all workers."""

LEASES = "chatq:leases"
"""Sorted set: member `<job id>:<token>`, score lease end in Unix ms on Redis's clock. Empty at rest."""

EVENTS = "chatq:events"
"""Stream, capped: field `e` = one telemetry event as JSON. Never a prompt, an answer or a key."""

TOTALS = "chatq:totals"
"""Hash of counters since the store was created: accepted, completed, failed, rescued, stale …"""

WAKE = "chatq:wake"
"""Channel: the name of a queue that stopped being empty."""


def queue(name: str) -> str:
    """List of job ids waiting; right is the back. Lives while it has entries."""
    return f"rq:queue:{name}"


def job(job_id: str) -> str:
    """Hash: RQ's fields and chatq's (`cq_*`, rq_layout.py). No TTL until the job ends, then its result's TTL."""
    return f"rq:job:{job_id}"


def results(job_id: str) -> str:
    """Stream: RQ's result entries; written in the full mirror and by stock workers only. TTL of the result."""
    return f"rq:results:{job_id}"


def started(name: str) -> str:
    """Sorted set: `<job id>:<token>` of running jobs, score `+inf` (the real lease is in `chatq:leases`)."""
    return f"rq:wip:{name}"


def finished(name: str) -> str:
    """Sorted set: job id, score = Unix second at which the result's TTL ends."""
    return f"rq:finished:{name}"


def failed(name: str) -> str:
    """Sorted set: job id, score = Unix second at which the error's TTL ends."""
    return f"rq:failed:{name}"


def scheduled(name: str) -> str:
    """Sorted set: job id, score = due Unix second (fractional)."""
    return f"rq:scheduled:{name}"


def cancelled(name: str) -> str:
    """Sorted set: job id, score = Unix second at which the entry may go (RQ itself writes the cancel time)."""
    return f"rq:canceled:{name}"


def worker(name: str) -> str:
    """Hash: a worker as RQ describes one. TTL of a few heartbeats."""
    return f"rq:worker:{name}"


def queue_workers(name: str) -> str:
    """Set of worker keys that serve a queue."""
    return f"rq:workers:{name}"


def worker_commands(name: str) -> str:
    """Channel of RQ's commands to one worker: JSON `{"command": "shutdown" | "stop-job" | …}`."""
    return f"rq:pubsub:{name}"


def waiter_channel(process_id: str) -> str:
    """Channel of one waiting process: space-separated ids of jobs that ended."""
    return f"chatq:done:{process_id}"


def grant(worker_name: str) -> str:
    """String: nonce and job ids of a worker's last claim, for a claim that is sent again. TTL 120 s."""
    return f"chatq:grant:{worker_name}"


def lanes(provider: str) -> str:
    """Hash: how far each lane has been served, for stride scheduling. Permanent; one a provider."""
    return f"chatq:lanes:{provider}"


def execution(job_id: str, token: str) -> str:
    """Hash: RQ's view of one running attempt; full mirror only. Deleted with its grant, TTL as a net."""
    return f"rq:execution:{job_id}:{token}"


def executions(job_id: str) -> str:
    """Sorted set: tokens of a job's running attempts; full mirror only. As `execution`."""
    return f"rq:executions:{job_id}"
