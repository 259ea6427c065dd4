"""Listings of a client's jobs, and the marks of jobs whose end is told by a webhook."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from shared.store.listing import Listings, ListingSweeper, Order
from tests.shared.store.conftest import Bench


async def submit_listed(bench: Bench, *ids: str, **fields: Any) -> None:
    jobs = [bench.new(job_id, **fields)._replace(is_listed=True) for job_id in ids]
    await bench.jobs.enqueue(jobs)


async def listed(
    bench: Bench, client: str = "default", *, after: str | None = None, limit: int = 100, order: Order = "asc"
) -> Sequence[str] | None:
    return await Listings(bench.store).ids(client, after=after, limit=limit, order=order)


async def test_listed_jobs_stand_in_their_clients_listing(bench: Bench) -> None:
    """In the order of their submit; who did not ask for it stands in none."""
    await submit_listed(bench, "b", "a")
    await bench.submit("plain")
    await submit_listed(bench, "x", client="other")
    await submit_listed(bench, "c")
    assert await listed(bench) == ["b", "a", "c"]
    assert await listed(bench, "other") == ["x"]
    assert await listed(bench, "nobody") == []


async def test_order_is_that_of_acceptance_in_large_calls(bench: Bench) -> None:
    """Hundreds of jobs accepted within a millisecond or two."""
    ids = [f"j{n * 7919 % 1000:03}" for n in range(500)]
    await submit_listed(bench, *ids)
    assert await listed(bench, limit=1000) == ids


@pytest.mark.parametrize(("order", "pages"), [("asc", ["ab", "cd", "e"]), ("desc", ["ed", "cb", "a"])])
async def test_pages_begin_behind_a_job(bench: Bench, order: Order, pages: list[str]) -> None:
    await submit_listed(bench, *"abcde")
    after, seen = None, []
    while page := await listed(bench, after=after, limit=2, order=order):
        seen.append("".join(page))
        after = page[-1]
    assert seen == pages


async def test_unknown_place_is_told(bench: Bench) -> None:
    """Somebody else's job is none of this listing."""
    await submit_listed(bench, "a")
    await submit_listed(bench, "x", client="other")
    assert await listed(bench, after="x") is None


async def test_same_submit_twice_is_listed_once(bench: Bench) -> None:
    """A known job stays where it is."""
    await submit_listed(bench, "a")
    await submit_listed(bench, "b")
    await submit_listed(bench, "a")
    assert await listed(bench) == ["a", "b"]


async def test_sweep_drops_what_is_gone(bench: Bench) -> None:
    """A listing of which nothing is left goes as a whole."""
    await submit_listed(bench, "a", "b", "c")
    await submit_listed(bench, "x", client="other")
    for grant in await bench.claim(2):
        await bench.end(grant)
    await bench.jobs.forget(["a"])
    bench.raw.delete("rq:job:x")
    assert await ListingSweeper(bench.store).sweep() == 2
    assert await listed(bench) == ["b", "c"]
    assert bench.raw.smembers("chatq:listings") == {"default"}


async def test_long_listing_is_swept_in_parts(new_bench: Bench) -> None:
    """Each round goes on where the last one stopped."""
    bench = new_bench
    bench.raw.zadd("chatq:listing:default", {f"j{n}": n for n in range(15_000)})
    bench.raw.sadd("chatq:listings", "default")
    sweeper = ListingSweeper(bench.store)
    first = await sweeper.sweep()
    assert 0 < first < 15_000
    assert first + await sweeper.sweep() == 15_000
    assert bench.raw.exists("chatq:listings") == 0


async def test_broken_listing_costs_no_job(bench: Bench) -> None:
    """A key of another type in its place is counted, and the job is queued all the same."""
    bench.raw.set("chatq:listing:default", "junk", ex=60)
    await submit_listed(bench, "a")
    assert bench.raw.lrange("rq:queue:p.default", 0, -1) == ["a"]
    assert bench.raw.hget("chatq:totals", "broken") == "1"
