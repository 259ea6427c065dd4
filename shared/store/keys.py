"""Every Redis key chatq touches: name, type, content, life time.

RQ's own keys (prefix `rq:`) keep RQ's layout, so that `rq info`, `Job.fetch` and a stock worker read them.
chatq's keys have the prefix `chatq:`. The scripts build the same names; a test compares the two.

Permanent (bounded) keys: `rq:queues`, `rq:workers`, `chatq:totals`, `chatq:lanes:<provider>`, `chatq:limits`,
`chatq:accounts`, `chatq:tokens`, `chatq:groups` and its version, `chatq:events` (capped), and what holds only
live entries: `chatq:leases`, `chatq:deadlines`, `chatq:payload`, `chatq:unfinished`, `chatq:webhooks:due` and
`…:leases`, `chatq:responses:open`, queues, lots, registries and listings. All else has a TTL, a job's own keys once
it has ended.
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
"""Stream, capped: fields `attempt` and `outcome`, one or both, an event as JSON. No prompt, no answer, no key."""

TOTALS = "chatq:totals"
"""Hash of counters since the store was created: accepted, completed, failed, rescued, stale …"""

DEADLINES = "chatq:deadlines"
"""Sorted set: id of an unfinished job with a deadline, score that deadline in Unix ms."""

PAYLOAD = "chatq:payload"
"""Hash: queue → bytes of payload of its unfinished jobs. A field goes when it reaches 0."""

UNFINISHED = "chatq:unfinished"
"""Hash: queue → number of its unfinished jobs. A field goes when it reaches 0."""

LISTINGS = "chatq:listings"
"""Set: clients that have a listing. Permanent; the janitor drops those that have none any more."""

WEBHOOKS = "chatq:webhooks"
"""Channel in name only: among a job's channels (`cq_notify`) it says that a webhook tells the job's end."""

WEBHOOKS_DUE = "chatq:webhooks:due"
"""Sorted set: what ended and is to be told (`job:<id>` …), score when that is due, Unix ms. Goes once told."""

WEBHOOK_LEASES = "chatq:webhooks:leases"
"""Sorted set: what a deliverer tells now, as in `chatq:webhooks:due`; score lease end, Unix ms. Empty at rest."""

LIMITS = "chatq:limits"
"""Hash: scope (`account:<a>`, `model:<a>/<m>`, `client:<c>`) → JSON `{"file": {…}, "set": {…}}`, what settings and
operators say; field `policy` → JSON of the breaker's and failover's numbers. Permanent."""

ACCOUNTS = "chatq:accounts"
"""Hash: provider → the account whose limits it draws on. Permanent."""

GROUPS = "chatq:groups"
"""Hash: id of a model group made at run time → its definition as JSON (`GroupSettings`). Permanent."""

GROUPS_VERSION = "chatq:groups:version"
"""String: a word that is another one after each change of the groups. Permanent."""

TOKENS = "chatq:tokens"
"""Hash: public id of an access token → what is kept of it as JSON (`AccessToken`). Permanent."""

BATCHES_OPEN = "chatq:batches:open"
"""Sorted set: id of a batch that has not ended, score when a batcher may take it, Unix ms on Redis's clock."""

BLOBS_IN_USE = "chatq:batches:blobs"
"""Hash: name of a blob that open batches read → how many of them. A field goes when it reaches 0."""

RESPONSES_OPEN = "chatq:responses:open"
"""Sorted set: id of a response whose outcome is not kept yet, score when a keeper looks for it, Unix ms."""

COST_CURSOR = "chatq:costs:cursor"
"""String: id of the last entry of `chatq:events` whose costs are in the sums of days. TTL 35 days."""

CLOSED = "chatq:closed"
"""Sorted set: scope that is closed or was lately, score until when, ms since 2025. Permanent; a day's worth."""

SLOTTED = "chatq:slotted"
"""Set: scopes in which a slot was taken; the janitor drops those that have none any more. Permanent."""

STANDING = "chatq:standing"
"""Sorted set: worker whose last claim found nothing and stands, score until when, Unix ms. TTL of seconds."""

UNWOKEN = "chatq:unwoken"
"""Set: queue that stopped being empty, and whose wake-up is left to the call that follows the enqueue. TTL 60 s."""

WAKE = "chatq:wake"
"""Channel: the name of a queue that stopped being empty, or `@` and the name of a worker that waits for a slot."""


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


def listing(client: str) -> str:
    """Sorted set: id of a client's listed job, score when accepted, Unix µs. The janitor drops what expired."""
    return f"chatq:listing:{client}"


def waiter_channel(process_id: str) -> str:
    """Channel of one waiting process: space-separated ids of jobs that ended."""
    return f"chatq:done:{process_id}"


def answers_channel(process_id: str) -> str:
    """Channel of one process that waits for single jobs: a message each, with the job (`whole.job`, base.lua)."""
    return f"chatq:answers:{process_id}"


def delta_channel(channel: str) -> str:
    """Channel beside a waiting process's own: space-separated ids of jobs whose answers have new deltas."""
    return f"{channel}:deltas"


def deltas(job_id: str) -> str:
    """Stream: an answer's pieces as they come, id = number from 1, field `d` = JSON (`deltas.py`). TTL an hour."""
    return f"chatq:deltas:{job_id}"


def grant(worker_name: str) -> str:
    """String: nonce and job ids of a worker's last claim, for a claim that is sent again. TTL 120 s."""
    return f"chatq:grant:{worker_name}"


def standing(worker_name: str) -> str:
    """String: arguments of a worker's claim that stands, a JSON list. TTL of seconds; goes when it is made."""
    return f"chatq:standing:{worker_name}"


def grants_channel(worker_name: str) -> str:
    """Channel of a worker whose claim was made by whoever enqueued: its reply (`standing.tell`, standing.lua)."""
    return f"chatq:grants:{worker_name}"


def lanes(provider: str) -> str:
    """Hash: how far each lane has been served, for stride scheduling. Permanent; one a provider."""
    return f"chatq:lanes:{provider}"


def execution(job_id: str, token: str) -> str:
    """Hash: RQ's view of one running attempt; full mirror only. Deleted with its grant, TTL as a net."""
    return f"rq:execution:{job_id}:{token}"


def executions(job_id: str) -> str:
    """Sorted set: tokens of a job's running attempts; full mirror only. As `execution`."""
    return f"rq:executions:{job_id}"


def scope(name: str) -> str:
    """String: state of one scope as JSON: what is paid off, closed, learned (`lua/lib/ledger.lua`). TTL a week."""
    return f"chatq:scope:{name}"


def slots(name: str) -> str:
    """Set: grants (`<job id>:<token>`) that hold a slot in a scope. Lives with its entries; TTL a week as a net."""
    return f"chatq:slots:{name}"


def held(provider: str) -> str:
    """Hash: lot (queue, client, label; '' = all) → what held it back last, and when. TTL an hour."""
    return f"chatq:held:{provider}"


def hungry(name: str) -> str:
    """Set: workers that wait for a slot of a scope. TTL 60 s."""
    return f"chatq:hungry:{name}"


def hungry_lots(name: str) -> str:
    """Set: lots, with their queue in front, that wait for a slot of a scope. TTL 60 s."""
    return f"chatq:hungry-lots:{name}"


def lot(queue_name: str, client: str, label: str) -> str:
    """List of job ids: the waiting jobs of one client and model, once sorted (`lua/lib/lots.lua`)."""
    return f"chatq:lot:{queue_name}:{client}\n{label}"


def fair(queue_name: str) -> str:
    """Sorted set: client with ready lots, score its pass (tokens / weight). Lives while it has entries."""
    return f"chatq:fair:{queue_name}"


def ready(queue_name: str, client: str) -> str:
    """Sorted set: label of a client's ready lot, score its own pass. Lives while it has entries."""
    return f"chatq:ready:{queue_name}:{client}"


def later(queue_name: str) -> str:
    """Sorted set: lot held back (client, line feed, label), score until when, ms since 2025. Goes with the last."""
    return f"chatq:later:{queue_name}"


def passes(queue_name: str) -> str:
    """Sorted set: client, score its pass, for clients that come back; '' has the present one. TTL an hour."""
    return f"chatq:pass:{queue_name}"


def sorted_since(queue_name: str) -> str:
    """String: since when its grants are booked on passes, ms since 2025. TTL an hour."""
    return f"chatq:sorted:{queue_name}"


def aside(queue_name: str) -> str:
    """String: how many jobs stand in a queue's lots. Goes with the last one."""
    return f"chatq:aside:{queue_name}"


def tenants(queue_name: str) -> str:
    """Set: clients that enqueued since RQ's list was last empty; two make the claim sort. Goes with the list."""
    return f"chatq:tenants:{queue_name}"


def movable(queue_name: str) -> str:
    """String: exists when a job with several candidates may stand in RQ's list. Goes with the list."""
    return f"chatq:movable:{queue_name}"


def quarantine(provider: str) -> str:
    """List of job ids: suspects, abandoned twice or more. Lives while it has entries."""
    return f"chatq:quarantine:{provider}"


def minute(number: int) -> str:
    """Hash: counters of one minute (Unix time / 60). TTL three hours."""
    return f"chatq:minute:{number}"


def costs(day: str) -> str:
    """Hash: whose calls (JSON list, `shared/store/costs.py`) → what they cost that UTC day, JSON. TTL 35 days."""
    return f"chatq:costs:{day}"


def webhook(ref: str) -> str:
    """Hash: how telling of an end goes: token, attempts, state, event told, client. TTL 8 days, told ones a day."""
    return f"chatq:webhook:{ref}"


def webhook_log(ref: str) -> str:
    """List, capped: the calls made for it, JSON objects, oldest first. TTL as `webhook`."""
    return f"chatq:webhook-log:{ref}"


def webhook_grant(deliverer: str) -> str:
    """String: token and refs of a deliverer's last claim, for a claim that is sent again. TTL 120 s."""
    return f"chatq:webhook-grant:{deliverer}"


def file(file_id: str) -> str:
    """String: a file as JSON (`FileRecord`). TTL as the file says."""
    return f"chatq:file:{file_id}"


def files(client: str) -> str:
    """Sorted set: ids of a client's files, score when they were made, Unix µs. TTL 366 days after the last one."""
    return f"chatq:files:{client}"


def batch(batch_id: str) -> str:
    """Hash: a batch (`Batch`). TTL: the setting's after its end, and until then after its deadline."""
    return f"chatq:batch:{batch_id}"


def batch_segments(batch_id: str) -> str:
    """List: what an open batch has recorded: `o` (answers) or `e` (errors), bytes, name of the blob. As `batch`."""
    return f"chatq:batch:segments:{batch_id}"


def batch_claim(token: str) -> str:
    """String: id of the batch that a claim was given, for a claim that is sent again. TTL a lease."""
    return f"chatq:batches:claim:{token}"


def batches(client: str) -> str:
    """Sorted set: ids of a client's batches, score when they were made, Unix µs. TTL 366 days after the last."""
    return f"chatq:batches:of:{client}"


def rating(digest: str) -> str:
    """String: the rating of a message, by the digest of what was rated. TTL as its group says, 30 days at most."""
    return f"chatq:rating:{digest}"


def response(response_id: str) -> str:
    """Hash: head, input and outcome of a response as JSON (`responses.py`). TTL 30 days; not stored: an hour."""
    return f"chatq:response:{response_id}"
