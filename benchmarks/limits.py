"""Limits: what passes at providers that enforce them strictly, measured there, with 1 to 8 worker processes.

Three accounts at once, each short of something else: requests, tokens, slots. All of them enforce their limit over
slices of one second, as providers do that quantize a minute; chatq is told the limit and bursts at most half of
that. Jobs are of mixed sizes, and more of them are queued than can pass.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.lab import OTHER_CORE, WORKER_CORE, Lab
from producer import Lane, Producer, Submission
from simulator.calllog import CallRecord, decode
from simulator.windows import Weigh, charged_tokens, one_request, peak_overlap, peak_window, utilisation

RPM, TPM, SLOTS = 3_000, 400_000, 40

LATENCY = "uniform:0.1,0.6"

ACCOUNTS = {
    "requests": ("RPM", "--rpm", RPM),
    "tokens": ("TPM", "--tpm", TPM),
    "slots": ("CONCURRENCY", "--concurrency", SLOTS),
}

WARM_UP_S = 5.0
"""Left out at the start: latencies and answer sizes are learned from the first answers."""

WINDOWS_S = (1.0, 10.0, 60.0)


@dataclass(frozen=True, slots=True)
class Passed:
    """What one account let through.

    Attributes:
        refused: Calls answered with 429.
        used: Share of the limit that was used, after the warm-up.
        peaks: For windows of 1, 10 and 60 s: the fullest one against what the limit allows in it plus one slice.
    """

    refused: int
    used: float
    peaks: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Limited:
    """One run with so many worker processes."""

    processes: int
    requests: Passed
    tokens: Passed
    slots: Passed

    @property
    def all(self) -> tuple[Passed, ...]:
        """The three accounts."""
        return self.requests, self.tokens, self.slots


def limited(*, processes: int, seconds: float) -> Limited:
    """Run for so many seconds and read the providers' logs."""
    with Lab() as lab:
        env = {}
        for name, (dimension, option, limit) in ACCOUNTS.items():
            options = ("--slice", "1", "--log", str(lab.folder / f"{name}.jsonl"), option, str(limit))
            url = lab.start_upstream(name, "--latency", LATENCY, *options)
            env |= {
                f"CHATQ_PROVIDERS__{name.upper()}__BASE_URL": f"{url}/v1",
                f"CHATQ_PROVIDERS__{name.upper()}__LIMITS__{dimension}": str(limit),
            }
        lab.reload(env)
        asyncio.run(_run(lab, processes, seconds))
        return Limited(processes, *(_read(lab.folder, name, seconds) for name in ACCOUNTS))


async def _run(lab: Lab, processes: int, seconds: float) -> None:
    lab.hold()
    async with Producer.open(lab.settings, registry=lab.registry) as producer:
        for name, count in (("requests", RPM / 60), ("tokens", TPM / 60 / 100), ("slots", SLOTS / 0.2)):
            await producer.submit_many(_jobs(name, round(count * (seconds + 5))))
    for index in range(processes):
        lab.worker(concurrency=200, providers=tuple(ACCOUNTS), core=WORKER_CORE if index % 2 else OTHER_CORE)
    lab.let_go(*ACCOUNTS)
    await asyncio.sleep(seconds)
    lab.hold()


def _jobs(name: str, count: int) -> Iterator[Submission]:
    """Prompts of 10 to 600 words, answers of up to 16 to 256 tokens, a third of them without a stated limit."""
    dice = random.Random(f"{name}-{count}")
    for number in range(count):
        words = dice.choice((10, 50, 150, 600))
        request: dict[str, object] = {
            "model": f"{name}/small",
            "messages": [{"role": "user", "content": f"#{number} " + "lorem ipsum dolor " * (words // 3)}],
        }
        if dice.random() < 2 / 3:
            request["max_tokens"] = dice.choice((16, 64, 256))
        yield Submission(request, lane=dice.choice((Lane.DEFAULT, Lane.BATCH)))


def _read(folder: Path, name: str, seconds: float) -> Passed:
    records = decode((folder / f"{name}.jsonl").read_bytes())
    refused = sum(record.status == 429 for record in records)
    admitted = [record for record in records if record.started_s is not None]
    first_s = min(record.started_s for record in admitted if record.started_s is not None)
    start_s, end_s = first_s + WARM_UP_S, first_s + seconds - 1
    if name == "slots":
        busy_s = sum(
            max(0.0, min(record.ended_s, end_s) - max(record.started_s or 0.0, start_s))
            for record in admitted
        )
        return Passed(refused, busy_s / (SLOTS * (end_s - start_s)), (peak_overlap(admitted) / SLOTS,))
    limit, weigh = (RPM, one_request) if name == "requests" else (TPM, charged_tokens)
    used = utilisation(admitted, limit, start_s, end_s, weigh)
    return Passed(refused, used, tuple(_peak(admitted, window_s, limit, weigh) for window_s in WINDOWS_S))


def _peak(records: list[CallRecord], window_s: float, limit_per_min: int, weigh: Weigh) -> float:
    """The fullest window against the limit's share of it plus a slice of one second."""
    return peak_window(records, window_s, weigh) / (limit_per_min / 60 * (window_s + 1.0))
