"""`python -m benchmarks`: run the measurements, print the table, store it in benchmarks/results.md."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import click

from benchmarks import api, api_chat, api_stream, edges, fairness, limits, routing, throughput
from benchmarks.lab import CORES, Lab

Row = tuple[str, str, str]

RESULTS = Path(__file__).with_name("results.md")


def measure_a(quick: bool) -> list[Row]:
    """One worker process against a bare loop and stock RQ."""
    jobs = 5_000 if quick else 20_000
    r = throughput.compare(jobs=jobs, stock_jobs=jobs // 20, rounds=1 if quick else 3)
    rounds = " / ".join(f"{n:,.0f}" for n in r.chatq)
    return [
        ("bare aiohttp + uvloop loop, 100 in flight", f"{sorted(r.bare)[len(r.bare) // 2]:,.0f} calls/s", ""),
        ("stock rq SimpleWorker", f"{sorted(r.stock)[len(r.stock) // 2]:,.0f} jobs/s", ""),
        (f"(a) chatq, zero latency, {jobs:,} preloaded, 500 slots", f"{rounds} jobs/s", ""),
        ("(a) against the bare loop", f"{r.of_bare:.0%}", "≥ 33 %, goal 45 %"),
        ("(a) against stock rq", f"{r.times_stock:.1f} ×", "≥ 8 ×"),
    ]


def measure_b(quick: bool) -> list[Row]:
    """1 s upstream, 1,000 in flight."""
    r = throughput.slow_upstream(latency_s=1.0, in_flight=1_000, jobs=5_000 if quick else 20_000)
    return _slow_rows("(b) 1 s upstream, 1,000 in flight", r, "≥ 90 %")


def measure_c(quick: bool) -> list[Row]:
    """10 s upstream, 10,000 in flight."""
    r = throughput.slow_upstream(latency_s=10.0, in_flight=10_000, jobs=20_000 if quick else 50_000)
    rows = _slow_rows("(c) 10 s upstream, 10,000 in flight", r, "≥ 90 %")
    return [*rows, ("(c) worker's peak RSS", f"{r.rss_mb:.0f} MB", "≤ 400 MB")]


def _slow_rows(title: str, r: throughput.Slow, aim: str) -> list[Row]:
    value = f"{r.jobs_per_s:,.0f} jobs/s = {r.jobs_per_s / r.ideal:.1%} of ideal, {r.cpu_share:.0%} CPU"
    return [(title, value, aim)]


def measure_d(quick: bool) -> list[Row]:
    """Submitting in bulk."""
    rates = [edges.submit_rate(jobs=10_000 if quick else 50_000) for _ in range(1 if quick else 3)]
    return [("(d) submit_many", f"{sorted(rates)[len(rates) // 2]:,.0f} jobs/s", "≥ 20,000")]


def measure_e(quick: bool) -> list[Row]:
    """Latency of an idle system."""
    submit, finish = edges.idle_latency(jobs=110 if quick else 510)
    return [
        (f"(e) idle: {what}", f"p50 {r.p50:.1f} ms, p99 {r.p99:.1f} ms", "p50 ≤ 3 ms, p99 ≤ 15 ms")
        for what, r in (("submit → upstream call", submit), ("answer → waiter", finish))
    ]


def measure_f(quick: bool) -> list[Row]:
    """Memory in Redis."""
    queued, finished = edges.bytes_per_job(jobs=2_000 if quick else 10_000)
    return [
        ("(f) Redis bytes per queued job (1 kB request)", f"{queued:,.0f}", ""),
        ("(f) Redis bytes per finished job (0.7 kB answer)", f"{finished:,.0f}", ""),
    ]


def measure_g(quick: bool) -> list[Row]:
    """Limits: what passes at providers that enforce them over slices of a second."""
    rows: list[Row] = []
    for processes in (1, 8) if quick else (1, 2, 4, 8):
        r = limits.limited(processes=processes, seconds=15 if quick else 66)
        used = " / ".join(f"{passed.used:.1%}" for passed in r.all)
        refused = sum(passed.refused for passed in r.all)
        fullest = max(peak for passed in r.all for peak in passed.peaks)
        value = f"{used} used, {refused} × 429, fullest window {fullest:.0%} of limit and slice"
        title = f"(g) {processes} worker processes at their rpm / tpm / concurrency"
        rows.append((title, value, "≥ 98 %, no 429, ≤ 100 %"))
    return rows


def measure_h(quick: bool) -> list[Row]:
    """Fairness under limits."""
    jobs = 2_000 if quick else 10_000
    delay_s = fairness.head_of_line(others=jobs)
    beside = fairness.interactive_beside_batch(
        batch=10 * jobs, rpm=3_000, per_s=10, seconds=10 if quick else 30
    )
    ratio = fairness.two_clients(jobs=6_000, tpm=300_000, seconds=10 if quick else 30)
    return [
        (f"(h) a free model behind {jobs:,} jobs of a model at its limit", f"{delay_s:.2f} s", "< 1 s"),
        (
            f"(h) interactive jobs beside a batch of {10 * jobs:,}, 3,000 rpm",
            f"waited p50 {beside.p50:.1f} ms, p99 {beside.p99:.1f} ms; batch {beside.batch_per_s:.0f}/s",
            "p99 < 250 ms",
        ),
        ("(h) tokens of two clients of equal weight, long against short jobs", f"{ratio:.2f}", "0.8 to 1.25"),
    ]


def measure_i(quick: bool) -> list[Row]:
    """Routing."""
    r = routing.routing_cost(jobs=10_000 if quick else 50_000)
    return [
        ("(i) a request of 1 kB through a group of three rules", f"{r.group_us:.1f} µs", "≤ 50 µs"),
        ("(i) a plain model name, part of submit_many", f"{r.name_us:.2f} µs, {r.share:.1%}", "≤ 5 %"),
    ]


def measure_j(quick: bool) -> list[Row]:
    """Jobs over HTTP."""
    posted = api.post_rate(jobs=2_000 if quick else 20_000)
    bulk = api.bulk_rate(jobs=10_000 if quick else 100_000)
    polls = 500 if quick else 5_000
    ups = api.poll_wake_ups(polls=polls, jobs=2 * polls, per_s=300)
    return [
        ("(j) POST /v1/jobs, one API process", f"{posted:,.0f}/s", "≥ 2,000"),
        ("(j) POST /v1/jobs/bulk, one API process", f"{bulk:,.0f} jobs/s", "≥ 15,000"),
        (
            f"(j) {polls:,} long polls open, {ups.per_s:,.0f} jobs/s end: end → answer",
            f"p50 {ups.p50:.1f} ms, p99 {ups.p99:.1f} ms",
            "p99 ≤ 50 ms",
        ),
    ]


def measure_k(quick: bool) -> list[Row]:
    """Chat completions over HTTP, beside LiteLLM's proxy."""
    calls = 200 if quick else 1_000
    busy, idle = (api_chat.overhead(calls=calls, latency_s=latency_s) for latency_s in (0.0, 0.02))
    first = api_stream.first_token(calls=calls)
    ours = api_chat.carried(calls=2_000 if quick else 20_000)
    theirs = api_chat.carried_by_litellm(calls=500 if quick else 2_000)
    return [
        (
            "(k) a chat completion through the queue against the direct call, upstream at once",
            f"p50 + {busy.added_p50:.1f} ms, p99 {busy.queued_p99:.1f} ms",
            "≤ 4 ms",
        ),
        (
            "(k) the same, upstream after 20 ms",
            f"p50 + {idle.added_p50:.1f} ms, p99 {idle.queued_p99:.1f} ms",
            "≤ 4 ms",
        ),
        (
            "(k) time to first token through the queue against the direct call",
            f"p50 + {first.added_p50:.1f} ms, p99 + {first.added_p99:.1f} ms",
            "≤ 10 ms",
        ),
        (
            "(k) chat completions, API and worker on one core",
            _carried_text(ours),
            "",
        ),
        (
            "(k) LiteLLM's proxy, one process",
            _carried_text(theirs),
            "",
        ),
        (
            "(k) requests a core against LiteLLM's proxy",
            f"{ours.per_cpu_s / theirs.per_cpu_s:.1f} ×",
            "≥ 5 ×",
        ),
    ]


def _carried_text(carried: api_chat.Carried) -> str:
    return f"{carried.per_s:,.0f}/s, {carried.per_cpu_s:,.0f} a CPU second"


MEASUREMENTS = {
    "a": measure_a,
    "b": measure_b,
    "c": measure_c,
    "d": measure_d,
    "e": measure_e,
    "f": measure_f,
    "g": measure_g,
    "h": measure_h,
    "i": measure_i,
    "j": measure_j,
    "k": measure_k,
}


@click.command()
@click.option("--only", default="abcdefghijk", help="Letters of the measurements to run.")
@click.option("--quick", is_flag=True, help="Small numbers, to see that it works; nothing is stored.")
def main(only: str, quick: bool) -> None:
    """Run the measurements (about a quarter of an hour) and print a table."""
    rows: list[Row] = []
    for letter in only:
        click.echo(f"measuring ({letter}) …", err=True)
        rows += MEASUREMENTS[letter](quick)
    table = "\n".join(
        ["| what | measured | aim |", "|---|---:|---:|", *(f"| {' | '.join(r)} |" for r in rows)]
    )
    click.echo(table)
    if not quick and set(only) == set(MEASUREMENTS):
        RESULTS.write_text(f"# Benchmark results\n\n{_circumstances()}\n\n{table}\n")
        click.echo(f"stored in {RESULTS}", err=True)


def _circumstances() -> str:
    """What the figures belong to: commit, machine, versions."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    with Lab() as lab:
        server = lab.redis.info("server")["redis_version"]
    packages = ", ".join(f"{name} {version(name)}" for name in ("redis", "rq", "httpx", "aiohttp", "uvloop"))
    return (
        f"`make bench` on {datetime.now(UTC):%Y-%m-%d}, commit {commit.stdout.strip()}, {len(CORES)} cores "
        f"({platform.machine()}), Python {platform.python_version()}, Redis server {server}, {packages}.\n"
        "Worker on one core; Redis (AOF everysec), upstream simulator and driver on the other; for single calls of "
        "(k) where the kernel puts them. "
        "Compare ratios: machines differ, and runs vary by 10-30 %."
    )


if __name__ == "__main__":
    main()
