"""The checker sees what it is there to see: sound evidence passes, and each flaw in it is Broken by its number."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from simulator import CallRecord
from tests.chaos.checker import Broken, check
from tests.chaos.evidence import Ask, Blow, Declared, Evidence, Lease, Limit, Snapshot
from tests.chaos.vitals import Course, Leeway

DIGEST = "0123456789abcdef"


def sound() -> Evidence:
    """One job, one call, one answer, at Unix second 1000."""
    answer = json.dumps({"choices": [{"message": {"content": f"echo {DIGEST} yes"}}]})
    job = {
        "status": "finished",
        "cq_state": "completed",
        "cq_result": answer,
        "cq_attempts": "1",
        "cq_max": "3",
    }
    call = CallRecord(
        1000.1, "openai", "/", "a", "1", None, ended_at=1000.2, digest=DIGEST, status=200, started_s=5.0
    )
    attempt = {"job": "a", "token": "1-x", "status": 200, "error": None}
    snapshot = Snapshot(
        jobs={"a": job},
        keys={"rq:job:a": ("hash", 86400, 1), "chatq:totals": ("hash", -1, 1)},
        attempts=[attempt],
        outcomes=[{"job": "a"}],
        ended_at={"a": 1000.3},
        totals={"accepted": 1, "completed": 1},
        texts="",
    )
    ask = Ask("a", "what is it", frozenset({DIGEST}), 1000.0, 1000.0)
    return Evidence({"a": ask}, {"up": [call]}, snapshot, Declared(), sightings={"a": ("completed", None)})


def more_calls(evidence: Evidence, **changes: object) -> None:
    calls = list(evidence.calls["up"])
    evidence.calls["up"] = [*calls, replace(calls[0], **changes)]  # type: ignore[type-var]


def key(evidence: Evidence, name: str, ttl: int = -1) -> None:
    evidence.snapshot.keys[name] = ("string", ttl, 1)


def add_a_phantom(evidence: Evidence) -> None:
    evidence.snapshot.jobs["b"] = evidence.snapshot.jobs["a"]
    evidence.snapshot.totals = {"accepted": 2, "completed": 2}


def lose(evidence: Evidence) -> None:
    evidence.snapshot.jobs.clear()


def cancel(evidence: Evidence) -> None:
    ask = evidence.asks["a"]
    ask.cancelled_at, ask.cancel_state = 999.0, "completed"


def late_deadline(evidence: Evidence) -> None:
    evidence.asks["a"].expires_in_s = -1.0


def pause(evidence: Evidence) -> None:
    evidence.snapshot.ended_at["b"] = 1100.0


def slow_recovery(evidence: Evidence) -> None:
    evidence.blows.append(Blow(900.0, 1, "kill", frozenset({"a"})))


def over_the_limit(evidence: Evidence) -> None:
    for n in range(30):
        more_calls(evidence, job=None, arrived_at=1000.2 + n / 100, ended_at=1000.2 + n / 100)
    evidence.limits.append(Limit("up", rpm=600))


def grow(evidence: Evidence) -> None:
    course = Course("worker", {"RSS MB": Leeway(0.1, 4)})
    course.readings += [{"RSS MB": 70.0 + n} for n in range(40)]
    evidence.courses.append(course)


FLAWS: dict[str, tuple[str, Callable[[Evidence], object]]] = {
    "a lost job": ("I1", lose),
    "an open job": ("I1", lambda e: e.snapshot.jobs["a"].update(status="queued")),
    "counters that do not add up": ("I1", lambda e: e.snapshot.totals.update(completed=2)),
    "a phantom": ("I2", add_a_phantom),
    "a running entry left": ("I3", lambda e: key(e, "rq:wip:p.default")),
    "two outcomes": ("I4", lambda e: e.snapshot.outcomes.append({"job": "a"})),
    "no outcome": ("I4", lambda e: e.snapshot.outcomes.clear()),
    "an end that may not be": (
        "I4",
        lambda e: e.snapshot.jobs["a"].update(status="failed", cq_state="failed"),
    ),
    "an outcome that changed": ("I4", lambda e: e.sightings.update(a=("failed", None))),
    "another answer than was read": ("I4", lambda e: e.sightings.update(a=("completed", "no"))),
    "a call too many": ("I5", lambda e: more_calls(e)),
    "attempts over the limit": ("I5", lambda e: e.snapshot.jobs["a"].update(cq_attempts="4")),
    "somebody else's answer": ("I6", lambda e: setattr(e.asks["a"], "digests", frozenset({"f" * 16}))),
    "a window over its limit": ("I7", over_the_limit),
    "too many calls at once": ("I7", lambda e: e.limits.append(Limit("up", concurrency=0))),
    "a slot kept": ("I8", lambda e: key(e, "chatq:slots:account:p")),
    "a lease kept": ("I8", lambda e: key(e, "chatq:leases")),
    "an orphan": ("I9", lambda e: setattr(e, "most_overdue_s", 60.0)),
    "a token of two": ("I10", lambda e: e.leases.update({Lease("a", "1-x", "w1"), Lease("a", "1-x", "w2")})),
    "a call after the deadline": ("I11", late_deadline),
    "a call after the cancel": ("I12", cancel),
    "a call nobody booked": ("I17", lambda e: e.snapshot.attempts.clear()),
    "an attempt told twice": (
        "I17",
        lambda e: e.snapshot.attempts.append(dict(e.snapshot.attempts[0], status=None)),
    ),
    "a view that moved backward": ("I18", lambda e: e.breaches.append("a")),
    "a key of nobody": ("I19", lambda e: key(e, "other:x", 5)),
    "a key without an end": ("I19", lambda e: key(e, "chatq:grant:w")),
    "a prompt in a log": ("I19", lambda e: setattr(e, "logs", "… what is it …")),
    "an API key in a log": ("I19", lambda e: setattr(e, "logs", "Bearer test-key-cloud")),
    "a long pause": ("I21", pause),
    "a recovery that takes too long": ("I21", slow_recovery),
    "a worker that grows": ("I22", grow),
}


def test_sound_evidence_passes() -> None:
    check(sound())


@pytest.mark.parametrize("flaw", FLAWS)
def test_flaw_is_seen(flaw: str) -> None:
    invariant, spoil = FLAWS[flaw]
    evidence = sound()
    spoil(evidence)
    with pytest.raises(Broken, match=rf"^({invariant})\b"):
        check(evidence)
