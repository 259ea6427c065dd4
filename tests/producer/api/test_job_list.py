"""Lists of jobs: by ids, by status and metadata, page by page, and nobody else's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from shared.store.connect import Store
from shared.store.listing import Listings
from tests.producer.api.conftest import CHAT, Hand
from tests.producer.api.test_jobs import submit
from tests.producer.api.tokens import add_token, bearer


async def page(api: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    reply = await api.get("/jobs", params=query)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def ids_of(found: dict[str, Any]) -> list[str]:
    return [job["id"] for job in found["data"]]


async def submit_many(api: httpx.AsyncClient, metadata: Sequence[dict[str, Any]]) -> list[str]:
    return [await submit(api, metadata=labels) for labels in metadata]


async def test_jobs_are_listed_newest_first(api: httpx.AsyncClient) -> None:
    ids = await submit_many(api, [{}] * 3)
    found = await page(api)
    assert ids_of(found) == ids[::-1]
    assert (found["object"], found["first_id"], found["last_id"]) == ("list", ids[2], ids[0])
    assert found["has_more"] is False
    assert ids_of(await page(api, order="asc")) == ids


async def test_empty_list_has_the_envelope(api: httpx.AsyncClient) -> None:
    assert await page(api) == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


async def test_pages_follow_one_another_to_the_end(api: httpx.AsyncClient) -> None:
    """As OpenAI's clients go through them."""
    ids = await submit_many(api, [{}] * 5)
    seen: list[str] = []
    after: dict[str, str] = {}
    while True:
        found = await page(api, limit=2, **after)
        seen += ids_of(found)
        if not found["has_more"]:
            break
        after = {"after": found["last_id"]}
    assert seen == ids[::-1]


async def test_status_and_labels_narrow_the_list(api: httpx.AsyncClient, hand: Hand) -> None:
    """All that is asked for at once; labels that are no text are written as JSON."""
    a, b, c = await submit_many(api, [{"run": "x", "n": 1}, {"run": "y", "n": 1}, {"run": "x", "n": 2}])
    (grant,) = await hand.claim()
    await hand.answer(grant)
    await api.delete(f"/jobs/{b}")
    assert ids_of(await page(api, status="completed")) == [a]
    assert ids_of(await page(api, status="queued,cancelled")) == [c, b]
    assert ids_of(await page(api, **{"metadata[run]": "x"})) == [c, a]
    assert ids_of(await page(api, **{"metadata[run]": "x", "metadata[n]": "2", "status": "queued"})) == [c]
    assert ids_of(await page(api, **{"metadata[other]": "x"})) == []


async def test_jobs_that_are_gone_are_left_out(api: httpx.AsyncClient, store: Store) -> None:
    """Their time is over, and the janitor has not come yet."""
    ids = await submit_many(api, [{}] * 3)
    await store.client.delete(f"rq:job:{ids[1]}")
    assert ids_of(await page(api, limit=2)) == [ids[2], ids[0]]


async def test_long_search_goes_on_in_the_next_page(api: httpx.AsyncClient, store: Store) -> None:
    """A page looks at so many jobs; the next one begins where it stopped."""
    await submit(api)
    await store.client.zadd("chatq:listing:default", {f"gone{n}": n for n in range(1_200)})
    found = await Listings(store).find(
        "default", lambda job: True, after=None, limit=5, order="asc", most=1_000
    )
    assert found is not None
    assert (found.ids, found.last, found.has_more) == ([], "gone999", True)
    later = await Listings(store).find("default", lambda job: True, after=found.last, limit=5, order="asc")
    assert later is not None
    assert (len(later.ids), later.has_more) == (1, False)


async def test_jobs_by_id(api: httpx.AsyncClient) -> None:
    """In the order of the ids; what is no job of the caller's is told."""
    a, b = await submit_many(api, [{}, {}])
    found = await page(api, ids=f"{b}, nobody,{a},{b}")
    assert (ids_of(found), found["missing"], found["has_more"]) == ([b, a], ["nobody"], False)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"ids": ","}, "ids"),
        ({"ids": ",".join(map(str, range(101)))}, "ids"),
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"order": "up"}, "order"),
        ({"status": "done"}, "status"),
        ({"status": ""}, "status"),
    ],
)
async def test_wrong_query_is_named(api: httpx.AsyncClient, query: dict[str, str], param: str) -> None:
    reply = await api.get("/jobs", params=query)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


async def test_unknown_place_is_not_found(api: httpx.AsyncClient) -> None:
    assert (await api.get("/jobs", params={"after": "nobody"})).status_code == 404


async def test_administrator_sees_other_clients_lists(api: httpx.AsyncClient, store: Store) -> None:
    """Without a token everybody is one."""
    await api.post("/jobs", json={"request": CHAT})
    assert ids_of(await page(api, client="somebody")) == []


async def test_clients_see_their_own_jobs_only(api: httpx.AsyncClient, store: Store) -> None:
    """In lists and by id; asking for another client's is refused."""
    alice, bob = [bearer(await add_token(store, client=client)) for client in ("alice", "bob")]
    reply = await api.post("/jobs", json={"request": CHAT}, headers=alice)
    job_id = reply.json()["id"]
    assert [ids_of((await api.get("/jobs", headers=one)).json()) for one in (alice, bob)] == [[job_id], []]
    by_id = (await api.get("/jobs", params={"ids": job_id}, headers=bob)).json()
    assert (by_id["data"], by_id["missing"]) == ([], [job_id])
    assert (await api.get("/jobs", params={"client": "alice"}, headers=bob)).status_code == 403
    assert (await api.get("/jobs", params={"client": "bob"}, headers=bob)).status_code == 200
    for method, path in (("GET", ""), ("GET", "/events"), ("DELETE", "")):
        assert (await api.request(method, f"/jobs/{job_id}{path}", headers=bob)).status_code == 404
