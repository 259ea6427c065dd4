"""The checker: reads outside evidence only and shares no code with chatq.

Evidence: what producers were told, the simulators' logs, a snapshot of Redis at rest, what pollers saw, and leases
as they were sampled. Invariants by their numbers in reliability.md §9. What a fault may lead to must have been
declared (`Declared`); everything else that is out of order is `Broken`.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise

from tests.chaos.evidence import Ask, Call, Evidence
from tests.chaos.windows import limits_broken
from tests.support import PERMANENT


class Broken(AssertionError):
    """An invariant does not hold."""


STATES = {
    "finished": {"completed"},
    "failed": {"failed", "expired"},
    "canceled": {"cancelled"},
    "stopped": {"cancelled"},
}
"""RQ's status → the states of chatq's it may stand for."""

UNFINISHED = ("queued", "started", "scheduled", "deferred")


def check(evidence: Evidence) -> None:
    """Fail unless every invariant holds that outside evidence can show."""
    for invariant in INVARIANTS:
        invariant(evidence)


def _complain(invariant: str, wrong: Iterable[object]) -> None:
    found = list(wrong)
    if found:
        raise Broken(f"{invariant}: {len(found)} times, first: {', '.join(map(str, found[:5]))}")


def _known(evidence: Evidence) -> list[tuple[Ask, dict[str, str]]]:
    """Accepted jobs that Redis knows, with their hashes."""
    jobs = evidence.snapshot.jobs
    return [(ask, jobs[ask.id]) for ask in evidence.asks.values() if ask.id in jobs]


def nothing_is_lost(evidence: Evidence) -> None:
    """I1: accepted = the sum of the ends, by id; the counters say the same."""
    jobs = evidence.snapshot.jobs
    lost = [i for i in evidence.asks if i not in jobs and i not in evidence.declared.lost]
    _complain("I1 accepted jobs are gone", lost)
    open_jobs = [f"{i} {job.get('status')}" for i, job in jobs.items() if job.get("status") not in STATES]
    _complain("I1 jobs never ended", open_jobs)
    if evidence.declared.goes_back:
        return
    totals = evidence.snapshot.totals
    ended = sum(totals.get(name, 0) for name in ("completed", "failed", "cancelled", "expired"))
    foreign = sum(_is_foreign(evidence, i) and job["status"] == "canceled" for i, job in jobs.items())
    if not totals.get("accepted", 0) == ended + foreign == len(jobs):
        raise Broken(f"I1 counters: accepted {totals.get('accepted')}, ended {ended}, jobs {len(jobs)}")


def no_phantoms(evidence: Evidence) -> None:
    """I2: every id in Redis was accepted, or may have been."""
    known = evidence.asks.keys() | evidence.in_doubt
    _complain("I2 jobs nobody submitted", [i for i in evidence.snapshot.jobs if i not in known])


def nothing_waits_anywhere(evidence: Evidence) -> None:
    """I3: at rest no list, delay or running entry holds a job."""
    places = r"rq:(queue|wip|scheduled):|chatq:(lot|quarantine):"
    _complain("I3 left at rest", [key for key in evidence.snapshot.keys if re.match(places, key)])


def one_outcome_each(evidence: Evidence) -> None:
    """I4: one terminal event an id."""
    outcomes = Counter(event["job"] for event in evidence.snapshot.outcomes)
    excused = evidence.declared.lost
    least = 0 if evidence.declared.goes_back else 1
    wrong = [
        f"{i} has {outcomes[i]}"
        for i in evidence.snapshot.jobs
        if not least <= outcomes[i] <= 1 and i not in excused and not _is_foreign(evidence, i)
    ]
    _complain("I4 not exactly one outcome", wrong)


def _is_foreign(evidence: Evidence, job_id: str) -> bool:
    return job_id in evidence.asks and evidence.asks[job_id].is_foreign


def ends_as_it_may(evidence: Evidence) -> None:
    """I4, I21: each job's state is one it may end in; failures are of a declared kind."""
    wrong = []
    for ask, job in _known(evidence):
        state = "cancelled" if ask.is_foreign and job["status"] == "canceled" else job.get("cq_state", "")
        if state not in STATES.get(job["status"], ()):
            wrong.append(f"{ask.id} is {job['status']} and {state}")
        elif state not in ask.may_end and not _is_declared_failure(evidence, state, job):
            wrong.append(f"{ask.id} ended {state} {job.get('cq_error', '')[:200]}")
    _complain("I4 an end that may not be", wrong)


def _is_declared_failure(evidence: Evidence, state: str, job: dict[str, str]) -> bool:
    error = json.loads(job.get("cq_error") or "{}")
    return state == "failed" and error.get("code") in evidence.declared.failures


def answers_fit(evidence: Evidence) -> None:
    """I6: the result belongs to its request."""
    wrong = []
    for ask, job in _known(evidence):
        if job["status"] == "finished":
            text = json.loads(job["cq_result"])["choices"][0]["message"]["content"]
            if not any(digest in text for digest in ask.digests):
                wrong.append(ask.id)
    _complain("I6 somebody else's answer", wrong)


def answers_stay(evidence: Evidence) -> None:
    """I4, I18: what a poller saw first is what stands there at the end; views only moved forward."""
    _complain("I18 a view moved backward", evidence.breaches)
    wrong = []
    for ask, job in _known(evidence):
        if ask.id in evidence.sightings and ask.id not in evidence.declared.lost:
            state, text = evidence.sightings[ask.id]
            now = job.get("cq_state")
            if state != now:
                wrong.append(f"{ask.id} was {state}, is {now}")
            elif text is not None and text not in json.dumps(
                json.loads(job["cq_result"]), ensure_ascii=False
            ):
                wrong.append(f"{ask.id} had another answer")
    _complain("I4 an outcome changed after it was read", wrong)


def _is_turned_away(call: Call) -> bool:
    """Refused at the door: no attempt is spent on that."""
    return call.status == 429 or (call.status == 503 and call.started_s is None)


def _calls_by_job(evidence: Evidence) -> dict[str, list[Call]]:
    by_job: dict[str, list[Call]] = defaultdict(list)
    for call in evidence.all_calls():
        if call.job is not None:
            by_job[call.job].append(call)
    return by_job


def _number(job: dict[str, str], field: str) -> int:
    return int(job.get(field) or 0)


def calls_within_attempts(evidence: Evidence) -> None:
    """I5: calls ≤ attempts (+ drains, which give theirs back) and attempts ≤ limit + abandonments, for each job."""
    if evidence.declared.goes_back:
        return
    by_job = _calls_by_job(evidence)
    wrong = []
    for ask, job in _known(evidence):
        calls = sum(not _is_turned_away(call) for call in by_job[ask.id])
        attempts, drains = _number(job, "cq_attempts"), _number(job, "cq_drained")
        most = _number(job, "cq_max") + _number(job, "cq_abandoned")
        least = 1 if job["status"] == "finished" else 0
        if not (least <= calls <= attempts + drains and attempts <= most + drains):
            facts = f"{calls} calls, {attempts} attempts, {drains} drains, limit {most}"
            wrong.append(f"{ask.id} ({job['status']}): {facts}")
    _complain("I5 more calls than attempts, or attempts than allowed", wrong)


def only_attempt_is_only_call(evidence: Evidence) -> None:
    """I5: a job with `max_attempts` 1 is never called twice."""
    by_job = _calls_by_job(evidence)
    wrong = []
    for ask, job in _known(evidence):
        calls = sum(not _is_turned_away(call) for call in by_job[ask.id])
        if _number(job, "cq_max") == 1 and calls > 1 + _number(job, "cq_drained"):
            wrong.append(f"{ask.id}: {calls} calls")
    _complain("I5 at most once was twice", wrong)


def limits_hold(evidence: Evidence) -> None:
    """I7: no window of 1, 10 or 60 s over the limit, and never too many calls at once, measured at the upstream."""
    _complain("I7 over a limit", limits_broken(evidence))


HELD = r"chatq:(leases|deadlines|payload)$|chatq:(slots|aside|fair|ready|later|lot|quarantine):"
"""What must be empty at rest: leases, slots (a breaker's probe permits are slots), bytes, lots."""


def everything_is_returned(evidence: Evidence) -> None:
    """I8: at rest nothing is held."""
    keys = evidence.snapshot.keys.items()
    left = [f"{key} ({size})" for key, (_, _, size) in keys if re.match(HELD, key)]
    _complain("I8 held at rest", left)


def no_orphans(evidence: Evidence) -> None:
    """I9: no lease was overdue for longer than a rescue takes."""
    if evidence.most_overdue_s > evidence.declared.lease_slack_s:
        raise Broken(f"I9 a lease was overdue for {evidence.most_overdue_s:.1f} s")


def tokens_are_unique(evidence: Evidence) -> None:
    """I10: no two claims share a token."""
    owners: dict[tuple[str, str], set[str]] = defaultdict(set)
    for lease in evidence.leases:
        owners[lease.job, lease.token].add(lease.worker)
    _complain("I10 a token of two workers", [key for key, workers in owners.items() if len(workers) > 1])


def deadlines_hold(evidence: Evidence) -> None:
    """I11: no call starts after the deadline."""
    by_job, slack_s = _calls_by_job(evidence), evidence.declared.deadline_slack_s
    wrong = [
        f"{ask.id}: {call.arrived_at - ask.acked_at - ask.expires_in_s:.3f} s late"
        for ask in evidence.asks.values()
        if ask.expires_in_s is not None
        for call in by_job[ask.id]
        if call.arrived_at > ask.acked_at + ask.expires_in_s + slack_s
    ]
    _complain("I11 a call after the deadline", wrong)


def cancels_hold(evidence: Evidence) -> None:
    """I12: no call starts after an acknowledged cancel, and the state is what the acknowledgement said."""
    by_job, slack_s = _calls_by_job(evidence), evidence.declared.cancel_slack_s
    wrong = []
    for ask, job in _known(evidence):
        if ask.cancelled_at is None:
            continue
        if job.get("cq_state") != ask.cancel_state:
            wrong.append(f"{ask.id} was said to be {ask.cancel_state}, is {job.get('cq_state')}")
        for call in by_job[ask.id]:
            if call.arrived_at > ask.cancelled_at + slack_s:
                wrong.append(f"{ask.id} called {call.arrived_at - ask.cancelled_at:.3f} s after its cancel")
    _complain("I12 a cancel did not hold", wrong)


def every_call_is_booked_once(evidence: Evidence) -> None:
    """I17: each call stands in the attempt events once; one that died with its worker as `worker_lost`."""
    if evidence.declared.goes_back:
        return
    by_job = _calls_by_job(evidence)
    answered: Counter[str] = Counter()
    booked: Counter[str] = Counter()
    told: Counter[tuple[str, str]] = Counter()
    for event in evidence.snapshot.attempts:
        booked[event["job"]] += 1
        told[event["job"], event["token"]] += event["error"] != "worker_lost"
        answered[event["job"]] += event.get("status") is not None
    wrong = []
    for ask, job in _known(evidence):
        calls = len(by_job[ask.id])
        # Nobody takes back what has ended meanwhile: then its worker's death stands nowhere.
        unseen = sum(ask.id in blow.held for blow in evidence.blows) if job["status"] != "finished" else 0
        if calls > booked[ask.id] + unseen or answered[ask.id] > calls:
            events = f"{booked[ask.id]} events, {answered[ask.id]} of them with an answer"
            wrong.append(f"{ask.id} ({job.get('cq_state')}): {calls} calls, {events}")
    _complain("I17 calls and events differ", wrong)
    _complain("I17 an attempt is told twice", [key for key, times in told.items() if times > 1])


KNOWN_PREFIXES = ("rq:", "chatq:")

SECRETS = ("test-key-cloud", "test-key-openrouter")


def store_is_clean(evidence: Evidence) -> None:
    """I19: known prefixes only, and a TTL on all that would stay."""
    keys = evidence.snapshot.keys
    _complain("I19 keys of nobody", [key for key in keys if not key.startswith(KNOWN_PREFIXES)])
    stay = [key for key, (_, ttl, _) in keys.items() if ttl == -1 and not PERMANENT.match(key)]
    _complain("I19 keys without an end", stay)


def nothing_is_told(evidence: Evidence) -> None:
    """I19: no key anywhere; no prompt in logs, telemetry or any key but the job's own."""
    for place, text in (("logs", evidence.logs), ("Redis", evidence.snapshot.texts)):
        _complain(f"I19 a key in {place}", [secret for secret in SECRETS if secret in text])
        prompts = [ask.id for ask in list(evidence.asks.values())[:200] if ask.text in text]
        _complain(f"I19 a prompt in {place}", prompts)


def work_goes_on(evidence: Evidence) -> None:
    """I21: some job ends every so often, from the first end to the last."""
    ends = sorted(evidence.snapshot.ended_at.values())
    gap_s = max((b - a for a, b in pairwise(ends)), default=0.0)
    if gap_s > evidence.declared.longest_gap_s:
        raise Broken(
            f"I21 no job ended for {gap_s:.1f} s, {evidence.declared.longest_gap_s:g} s are declared"
        )


def blows_are_overcome(evidence: Evidence) -> None:
    """I9, I21: what a dead worker held goes on elsewhere in time."""
    slowest = max(recovery_times(evidence), default=0.0)
    if slowest > evidence.declared.recovery_s:
        raise Broken(f"I21 a recovery took {slowest:.1f} s")


def recovery_times(evidence: Evidence) -> list[float]:
    """Seconds from each blow until each job it hit was called again, or had ended."""
    by_job = _calls_by_job(evidence)
    found = []
    for blow in evidence.blows:
        for job_id in blow.held:
            moments = [call.arrived_at for call in by_job[job_id] if call.arrived_at > blow.at]
            if job_id in evidence.snapshot.ended_at:
                moments.append(evidence.snapshot.ended_at[job_id])
            later = [at for at in moments if at > blow.at]
            if later:
                found.append(min(later) - blow.at)
    return sorted(found)


def resources_are_flat(evidence: Evidence) -> None:
    """I22: memory, files, threads and tasks are at the end what they were."""
    _complain("I22 not flat", (line for course in evidence.courses for line in course.broken()))


INVARIANTS = (
    nothing_is_lost,
    no_phantoms,
    nothing_waits_anywhere,
    one_outcome_each,
    ends_as_it_may,
    answers_fit,
    answers_stay,
    calls_within_attempts,
    only_attempt_is_only_call,
    limits_hold,
    everything_is_returned,
    no_orphans,
    tokens_are_unique,
    deadlines_hold,
    cancels_hold,
    every_call_is_booked_once,
    store_is_clean,
    nothing_is_told,
    work_goes_on,
    blows_are_overcome,
    resources_are_flat,
)
