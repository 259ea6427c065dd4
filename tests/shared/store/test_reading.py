"""Reading jobs: one broken hash is one broken job, and reading costs two round trips."""

from __future__ import annotations

import base64
import zlib
from pathlib import Path

import orjson
import pytest

from shared.job import Attempt, Candidate, Job, JobError, JobState
from shared.settings import AdmissionSettings, RedisSettings
from shared.store import rq_layout
from shared.store.connect import Store
from shared.store.jobs import BATCH_BYTES, JobStore
from shared.store.status import read_status
from tests.shared.store.conftest import Bench
from tests.shared.store.proxy import Proxy
from tests.support import RedisServer


async def read_beside_good(bench: Bench, fields: dict[str, str | bytes]) -> Job:
    """The job `bad` as it reads with these fields in its hash; its neighbour must read as ever."""
    await bench.submit("bad", "good")
    bench.raw.hset("rq:job:bad", mapping=fields)  # type: ignore[arg-type]  # bytes are fine
    bench.raw.expire("rq:job:bad", 60)
    bench.raw.delete("rq:queue:p.default")
    bad, good = await bench.jobs.read(["bad", "good"])
    assert good is not None
    assert (good.state, good.requested_model) == (JobState.QUEUED, "m")
    assert bad is not None
    return bad


@pytest.mark.parametrize(
    "fields",
    [
        {"cq_info": '{"candidates":[1],"model":7,"source":[],"metadata":"x"}'},
        {"cq_info": '{"candidates":{"0":1}}'},
        {"cq_info": '{"candidates":[["p"]]}'},
        {"cq_info": '{"candidates":[["p",1]]}'},
        {"cq_info": b"\xff"},
        {"cq_attempts": "many"},
        {"cq_attempts": "9" * 5000},
        {"origin": b"\xff.batch", "status": "scheduled"},
        {"worker_name": b"\xff", "cq_wait": b"\xff", "status": "scheduled"},
        {"created_at": "0001-01-01T00:00:00+14:00", "started_at": b"\xff"},
        {"status": b"\xff"},
    ],
)
async def test_broken_field_costs_that_field_only(bench: Bench, fields: dict[str, str | bytes]) -> None:
    """The job is there, without what cannot be read."""
    job = await read_beside_good(bench, fields)
    assert (job.state, job.attempts) == (JobState.QUEUED, 0)
    assert job.candidate == (None if "cq_info" in fields else Candidate("p", "m"))


async def test_strange_state_word_gives_way_to_rqs(bench: Bench) -> None:
    """An unknown `cq_state` says nothing; RQ's status does."""
    job = await read_beside_good(bench, {"status": "canceled", "cq_state": "melted"})
    assert job.state is JobState.CANCELLED


@pytest.mark.parametrize("answer", ["", "{", "[1]", "{}", b"\xff"])
async def test_unreadable_answer_is_the_jobs_error(bench: Bench, answer: str | bytes) -> None:
    """The state is RQ's; the error says that there is no answer."""
    job = await read_beside_good(bench, {"status": "finished", "cq_state": "completed", "cq_result": answer})
    assert (job.state, job.response) == (JobState.COMPLETED, None)
    assert job.error is not None
    assert job.error.code == "corrupt_job"


async def test_unreadable_error_is_an_error(bench: Bench) -> None:
    """It is not made up from elsewhere."""
    job = await read_beside_good(bench, {"status": "failed", "cq_state": "failed", "cq_error": "{"})
    assert job.error is not None
    assert job.error.code == "corrupt_job"


BOMB = base64.b64encode(zlib.compress(bytes(17 * 1024 * 1024)))


@pytest.mark.parametrize(
    ("status", "entry"),
    [
        ("finished", {"return_value": "a"}),
        ("finished", {"return_value": base64.b64encode(b"\xff")}),
        ("failed", {"exc_string": "a"}),
        ("failed", {"exc_string": base64.b64encode(b"no zlib")}),
        ("failed", {"exc_string": BOMB}),
    ],
)
async def test_unreadable_stock_outcome_is_the_jobs_error(
    bench: Bench, status: str, entry: dict[str, str | bytes]
) -> None:
    """RQ's result stream with other content than RQ writes, or with a bomb in it."""
    bench.raw.xadd("rq:results:bad", entry)  # type: ignore[arg-type]  # bytes are fine
    bench.raw.expire("rq:results:bad", 60)
    job = await read_beside_good(bench, {"status": status})
    assert job.error is not None
    assert job.error.code == "corrupt_job"


async def test_stock_outcomes_are_read_from_rqs_stream(bench: Bench) -> None:
    """The answer of a job that a stock worker finished, the last line of another's traceback."""
    await bench.submit("done", "broke", "blank")
    for job_id, status, entry in (
        ("done", "finished", {"return_value": rq_layout.encode_result(b'{"a":1}')}),
        ("broke", "failed", {"exc_string": rq_layout.encode_traceback("Traceback …\nValueError: no\n")}),
        ("blank", "failed", {"exc_string": rq_layout.encode_traceback(" \n")}),
    ):
        bench.raw.hset(f"rq:job:{job_id}", "status", status)
        bench.raw.expire(f"rq:job:{job_id}", 60)
        bench.raw.xadd(f"rq:results:{job_id}", entry)  # type: ignore[arg-type]  # bytes are fine
        bench.raw.expire(f"rq:results:{job_id}", 60)
    bench.raw.delete("rq:queue:p.default")
    done, broke, blank = await bench.jobs.read(["done", "broke", "blank"])
    assert done is not None
    assert (done.response, done.error) == ({"a": 1}, None)
    assert broke is not None
    assert broke.error == JobError("failed_outside_chatq", "ValueError: no")
    assert blank is not None
    assert blank.error == JobError("failed_outside_chatq", "the job failed outside chatq")


async def test_other_type_under_the_key_is_no_job(bench: Bench) -> None:
    """Whoever wrote it, the neighbours are read."""
    await bench.submit("good")
    bench.raw.set("rq:job:bad", "x", ex=60)
    bad, good = await bench.jobs.read(["bad", "good"])
    assert bad is None
    assert good is not None


@pytest.mark.parametrize(
    "response",
    [
        None,
        {},
        {"choices": []},
        {"choices": "x"},
        {"choices": [1]},
        {"choices": [{"message": None}]},
        {"choices": [{"message": {"content": [1]}}]},
    ],
)
def test_odd_answer_has_no_text(response: dict[str, object] | None) -> None:
    """`text` is the first choice's text or nothing; never an error."""
    job = Job("a", JobState.COMPLETED, "default", "p.default", "m", None, 1, None, response=response)
    assert job.text is None


async def test_broken_worker_numbers_are_shown_as_unknown(bench: Bench) -> None:
    """A foreign entry among the workers does not take the status away."""
    fields = {"last_heartbeat": rq_layout.format_date(0), "pid": "x", "cq_in_flight": "y"}
    bench.raw.sadd("rq:workers", "rq:worker:w")
    bench.raw.hset("rq:worker:w", mapping=fields)
    bench.raw.expire("rq:worker:w", 60)
    (worker,) = (await read_status(bench.store)).workers
    assert (worker.pid, worker.in_flight) == (0, None)


async def test_parked_jobs_are_read_in_two_round_trips(
    bench: Bench, any_redis_server: RedisServer, tmp_path: Path
) -> None:
    """When each is due comes in one more pipeline, not in a call each."""
    ids = [f"j{n}" for n in range(30)]
    await bench.submit(*ids)
    for grant in await bench.claim(want=30):
        await bench.give_back(grant, delay_ms=60_000)
    async with Proxy(tmp_path, any_redis_server.socket).running() as proxy:
        store = await Store.open(proxy.url, RedisSettings(url=proxy.url))
        before = proxy.sends
        jobs = await JobStore(
            store, result_ttl_s=1, failure_ttl_s=1, max_events=0, bounds=AdmissionSettings()
        ).read(ids)
        assert proxy.sends - before < 10  # a pipeline may leave in more than one packet
        await store.close()
    assert all(job and job.waits_until and job.wait_reason == "backoff" for job in jobs)


async def test_large_jobs_are_cut_into_small_scripts(bench: Bench) -> None:
    """A script call carries at most 4 MiB; a larger job goes alone."""
    half = b'{"x":"%s"}' % (b"x" * (BATCH_BYTES // 2 + 1))
    whole = b'{"x":"%s"}' % (b"x" * (BATCH_BYTES + 1))
    jobs = [bench.new(f"j{n}", request=body) for n, body in enumerate([half, half, whole, half])]
    jobs += [bench.new(f"s{n}") for n in range(5)]
    before = bench.raw.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0)
    assert set((await bench.jobs.enqueue(jobs)).codes) == {1}
    calls = bench.raw.info("commandstats")["cmdstat_evalsha"]["calls"] - before
    assert calls == 4 + 3  # and after each job that went alone, a look whether a claim stands


TRY = (
    b'{"type":"attempt","attempt":1,"provider":"p","model":"m","at":5.5,"duration_s":0.25,"error":"overloaded",\
"status":529,"maybe_billed":true,"input_total":7,"output_total":null,"cost_usd":null}'
)


async def test_failed_calls_are_read_with_their_job(bench: Bench) -> None:
    """Oldest first; lines that cannot be read are left out."""
    tries = b"\n".join((TRY, b"{", b"[1]", b'{"attempt":"x","provider":1,"at":"y","maybe_billed":"z"}'))
    job = await read_beside_good(bench, {"cq_tries": tries})
    first, odd = job.attempts_log
    assert first == Attempt(1, Candidate("p", "m"), 5.5, 0.25, 529, "overloaded", 7, None, None, True)
    assert odd == Attempt(None, None, None, None, None, None)


async def test_answering_call_is_the_last_attempt(bench: Bench) -> None:
    """From the answer's record; after those that failed."""
    record = {
        "provider": "q",
        "upstream_model": "n",
        "latency_s": 1.5,
        "usage": {"input_total": 3, "output_total": 4, "cost_usd": 0.1},
    }
    answer = orjson.dumps({"choices": [], "chatq": record})
    fields = {
        "status": "finished",
        "cq_state": "completed",
        "cq_result": answer,
        "cq_tries": TRY,
        "cq_attempts": "2",
    }
    job = await read_beside_good(bench, fields)
    assert [attempt.number for attempt in job.attempts_log] == [1, 2]
    assert job.attempts_log[1] == Attempt(2, Candidate("q", "n"), None, 1.5, 200, None, 3, 4, 0.1, True)


@pytest.mark.parametrize("record", ["7", '{"usage":[],"latency_s":"x","provider":2}', "[]", "null"])
async def test_broken_record_costs_its_attempt_the_details(bench: Bench, record: str) -> None:
    """The answer is read as ever."""
    fields: dict[str, str | bytes] = {
        "status": "finished", "cq_state": "completed", "cq_result": f'{{"chatq":{record}}}',
    }  # fmt: skip
    job = await read_beside_good(bench, fields)
    assert job.response is not None
    assert [(a.duration_s, a.candidate) for a in job.attempts_log] == [(None, Candidate("p", "m"))]


@pytest.mark.parametrize(
    ("hops", "candidate"),
    [
        ("0@0", Candidate("p", "m")),
        ("0@0x 1@2!", Candidate("q", "n")),
        ("0@0 9@1", None),
        ("x", Candidate("p", "m")),
    ],
)
async def test_candidate_is_the_one_it_is_at(bench: Bench, hops: str, candidate: Candidate | None) -> None:
    """All of them are told, too."""
    info = '{"candidates":[["p","m"],["q","n"]],"model":"m"}'
    job = await read_beside_good(bench, {"cq_info": info, "cq_hops": hops})
    assert job.candidates == [Candidate("p", "m"), Candidate("q", "n")]
    assert job.candidate == candidate


RATED = {
    "candidates": [["s", "one"], ["s", "two"], ["p", "small"], ["q", "large"]],
    "chain": ["g (asks s/one)"],
    "unrated_chain": ["g (no rating)", "p/small"],
    "selection": {"selectors": 2},
}
CHOSEN = {"candidates": [["p", "m"], ["q", "n"]], "chain": ["g (rule)", "p/m"]}


@pytest.mark.parametrize(
    ("record", "hops", "chain"),
    [
        (CHOSEN, "0@0", ["g (rule)", "p/m"]),
        (CHOSEN, "0@0x 1@1", ["g (rule)", "p/m", "moved on to q/n"]),
        (
            CHOSEN | {"fallback_chain": ["else h", "q/n"]},
            "1@1",
            ["g (rule)", "p/m", "else h", "q/n", "moved on to q/n"],
        ),
        (CHOSEN, "7@0", ["g (rule)", "p/m"]),
        (CHOSEN | {"chain": 7, "fallback_chain": [7, "x"]}, "0@0", ["x"]),
        (RATED, "0@0", ["g (asks s/one)"]),
        (RATED, "1@0", ["g (asks s/one)", "moved on to s/two"]),
        (RATED, "2@0", ["g (no rating)", "p/small"]),
        (RATED, "3@1", ["g (no rating)", "p/small", "moved on to q/large"]),
    ],
)
async def test_chain_ends_where_the_job_is(
    bench: Bench, record: dict[str, object], hops: str, chain: list[str]
) -> None:
    """A job that went on elsewhere says so behind what was decided."""
    job = await read_beside_good(bench, {"cq_info": orjson.dumps(record), "cq_hops": hops})
    assert job.chain == chain
