"""Who may call: the static token, addresses, tokens in Redis; lanes, models and money of a token."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Any

import httpx
import orjson
import pytest

from producer.api.access import Access
from producer.api.errors import ApiError
from producer.api.known_tokens import MOST, KnownTokens
from producer.api.listening import check_bind, is_loopback
from producer.api.principal import Role
from shared.access_token import AccessToken, digest_of, id_of, new_token
from shared.errors import ConfigError
from shared.store import keys
from shared.store.connect import Store
from shared.store.tokens import TokenNotFound, TokenStore, TooManyTokens
from tests.conftest import MakeSettings
from tests.producer.api.conftest import CHAT, Serve
from tests.producer.api.tokens import add_token, bearer
from tests.support import RedisServer

STATIC = "static-token-of-the-file"
NO_JOB = "/jobs/none"


async def status(client: httpx.AsyncClient, token: str | None = None, **headers: str) -> int:
    """What asking for a job that does not exist comes to: 404 for whoever gets in."""
    given = bearer(token) if token is not None else {}
    return (await client.get(NO_JOB, headers={**given, **headers})).status_code


async def test_without_any_token_everybody_here_gets_in(api: httpx.AsyncClient) -> None:
    """The official clients always send some key, so any will do."""
    assert [await status(api), await status(api, "sk-anything"), await status(api, new_token())] == [404] * 3


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Origin": "https://page.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:8080"}, 404),
        ({"Host": "rebound.example:3220"}, 403),
        ({"Host": "localhost:3220"}, 404),
        ({"Host": "[::1]:3220"}, 404),
    ],
)
async def test_web_pages_need_a_token(
    api: httpx.AsyncClient, store: Store, headers: dict[str, str], expected: int
) -> None:
    """A browser on this machine is led here by any page, under a name that the page's owner can choose."""
    assert await status(api, **headers) == expected
    token = await add_token(store)
    assert await status(api, token, **headers) == 404


async def test_static_token_is_needed(serve: Serve) -> None:
    async with serve(CHATQ_AUTH__TOKEN=STATIC) as api:
        assert [await status(api), await status(api, "wrong"), await status(api, new_token())] == [401] * 3
        assert await status(api, STATIC) == 404
        refused = await api.get(NO_JOB)
        assert refused.headers["www-authenticate"] == "Bearer"
        assert refused.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize("scheme", ["Basic", "bearer", "Bearer  ", "-"])
async def test_scheme_is_bearer_in_any_case(serve: Serve, scheme: str) -> None:
    async with serve(CHATQ_AUTH__TOKEN=STATIC) as api:
        got = (await api.get(NO_JOB, headers={"authorization": f"{scheme} {STATIC}"})).status_code
        assert got == (404 if scheme.strip().lower() == "bearer" else 401)


async def test_token_of_other_letters_than_ascii(serve: Serve) -> None:
    async with serve(CHATQ_AUTH__TOKEN="schlüssel") as api:
        for token, expected in (("schlüssel", 404), ("schlussel", 401)):
            raw = [(b"authorization", b"Bearer " + token.encode())]
            assert (await api.get(NO_JOB, headers=raw)).status_code == expected


async def test_addresses_are_checked(serve: Serve) -> None:
    """Alone, they let in without a token; what a proxy's headers say of an address is not believed."""
    async with serve(CHATQ_AUTH__ALLOWED_IPS='["127.0.0.0/8"]') as api:
        assert await status(api) == 404
    async with serve(CHATQ_AUTH__ALLOWED_IPS='["10.0.0.0/8", "::1"]') as api:
        refused = await api.get(NO_JOB, headers={"x-forwarded-for": "10.1.2.3", "x-real-ip": "10.1.2.3"})
        assert (refused.status_code, refused.json()["error"]["type"]) == (403, "permission_error")
        assert (await api.get("/health")).status_code == 200


async def test_address_and_token_are_both_needed(serve: Serve) -> None:
    both = {"CHATQ_AUTH__TOKEN": STATIC, "CHATQ_AUTH__ALLOWED_IPS": '["127.0.0.1"]'}
    async with serve(**both) as api:
        assert [await status(api), await status(api, STATIC)] == [401, 404]
    async with serve(**{**both, "CHATQ_AUTH__ALLOWED_IPS": '["10.0.0.0/8"]'}) as api:
        assert [await status(api), await status(api, STATIC)] == [403, 403]


@pytest.mark.parametrize(
    ("host", "is_in"),
    [("10.1.2.3", True), ("::ffff:10.1.2.3", True), ("fe80::1%eth0", True), ("11.0.0.1", False), ("", False)],
)
async def test_address_in_every_form(
    store: Store, make_settings: MakeSettings, host: str, is_in: bool
) -> None:
    settings = make_settings(CHATQ_AUTH__ALLOWED_IPS='["10.0.0.0/8", "fe80::/10"]')
    access = Access(settings, TokenStore(store))
    if is_in:
        assert (await access.admit({}, host, Role.READ)).client == "default"
    else:
        with pytest.raises(ApiError, match="address"):
            await access.admit({}, host, Role.READ)


async def test_one_token_in_redis_makes_one_needed(api: httpx.AsyncClient, store: Store) -> None:
    token = await add_token(store)
    assert [await status(api), await status(api, new_token()), await status(api, token)] == [401, 401, 404]


async def test_static_token_and_made_ones_stand_side_by_side(serve: Serve, store: Store) -> None:
    token = await add_token(store)
    async with serve(CHATQ_AUTH__TOKEN=STATIC) as api:
        assert [await status(api, STATIC), await status(api, token)] == [404, 404]


async def test_revoked_token_stops_acting_within_two_seconds(api: httpx.AsyncClient, store: Store) -> None:
    token, _other = await add_token(store), await add_token(store)
    assert await status(api, token) == 404
    await TokenStore(store).revoke(id_of(token))
    revoked_at = time.monotonic()
    while await status(api, token) != 401:
        assert time.monotonic() - revoked_at < 2
        await asyncio.sleep(0.02)


async def test_token_whose_time_is_over_is_none(api: httpx.AsyncClient, store: Store) -> None:
    token = await add_token(store, expires_at=time.time() + 0.3)
    assert await status(api, token) == 404
    async with asyncio.timeout(5):
        while await status(api, token) != 401:
            await asyncio.sleep(0.02)


async def test_beginning_of_a_token_is_not_enough(api: httpx.AsyncClient, store: Store) -> None:
    """The public id finds the record; only the whole token opens."""
    token = await add_token(store)
    assert await status(api, id_of(token) + new_token()[len(id_of(token)) :]) == 401
    assert await status(api, id_of(token)) == 401


@pytest.mark.parametrize("record", ["nonsense", "{}", "[]", "x" * 70_000])
async def test_broken_record_lets_nobody_in(api: httpx.AsyncClient, store: Store, record: str) -> None:
    """And it counts as a token: somebody wanted one to be asked for."""
    token = new_token()
    await store.client.hset(keys.TOKENS, id_of(token), record)  # type: ignore[misc]
    assert [await status(api, token), await status(api)] == [401, 401]


async def test_record_under_another_id_lets_nobody_in(api: httpx.AsyncClient, store: Store) -> None:
    await add_token(store)
    token = new_token()
    other = AccessToken(
        id=id_of(new_token()), digest=digest_of(token), client="c", role=Role.ADMIN, created_at=1
    )
    await store.client.hset(keys.TOKENS, id_of(token), other.model_dump_json())  # type: ignore[misc]
    assert await status(api, token) == 401


async def test_what_stands_in_place_of_the_tokens_closes_the_door(
    api: httpx.AsyncClient, store: Store, redis_server: RedisServer
) -> None:
    with redis_server.client() as raw:
        raw.set(keys.TOKENS, "something else")
    assert await status(api, new_token()) == 401


async def test_role_bounds_what_is_done(api: httpx.AsyncClient, store: Store) -> None:
    reader = await add_token(store, role=Role.READ)
    refused = await api.post("/jobs", json={"request": CHAT}, headers=bearer(reader))
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "role_not_allowed")


async def test_lanes_and_models_of_a_token(api: httpx.AsyncClient, store: Store) -> None:
    token = await add_token(store, lanes=("batch",), models=("ollama/*",))

    async def submit(lane: str, model: str, *fallbacks: str) -> tuple[int, str | None]:
        request = {**CHAT, "model": model, **({"fallbacks": fallbacks} if fallbacks else {})}
        answer = await api.post("/jobs", json={"request": request, "lane": lane}, headers=bearer(token))
        return answer.status_code, answer.json().get("error", {}).get("code")

    assert await submit("batch", "ollama/m") == (202, None)
    assert await submit("default", "ollama/m") == (403, "lane_not_allowed")
    assert await submit("batch", "openrouter/m") == (403, "model_not_allowed")
    assert await submit("batch", "m") == (403, "model_not_allowed")
    assert await submit("batch", "ollama/m", "openrouter/m") == (403, "model_not_allowed")


async def spend(store: Store, client: str, usd: float) -> None:
    """A call that cost so much, as a worker writes it down."""
    event = {"type": "attempt", "job": "j", "client": client, "cost_usd": usd, "maybe_billed": True}
    await store.client.xadd(keys.EVENTS, {"attempt": orjson.dumps(event)})


async def submitted(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.post("/jobs", json={"request": CHAT}, headers=bearer(token))


async def test_spent_budget_refuses_for_good(api: httpx.AsyncClient, store: Store) -> None:
    """Of this client alone; what was there before stays readable."""
    poor = await add_token(store, client="poor", budget_usd=2)
    rich = await add_token(store, client="rich", budget_usd=20)
    await spend(store, "poor", 1.5)
    assert (await submitted(api, poor)).status_code == 202
    await spend(store, "poor", 0.5)
    async with asyncio.timeout(5):
        while (refused := await submitted(api, poor)).status_code == 202:
            await asyncio.sleep(0.05)
    assert (refused.status_code, refused.headers["x-should-retry"]) == (429, "false")
    assert refused.json()["error"]["type"] == "insufficient_quota"
    assert (await submitted(api, rich)).status_code == 202
    assert (await api.get("/jobs", headers=bearer(poor))).status_code == 200


async def test_budget_of_the_settings_counts_too(serve: Serve, store: Store) -> None:
    """The smaller one holds."""
    token = await add_token(store, client="nightly", budget_usd=100)
    await spend(store, "nightly", 5)
    async with serve(CHATQ_CLIENTS__NIGHTLY__BUDGET_USD="4") as api:
        assert (await submitted(api, token)).status_code == 429


class CountingStore(TokenStore):
    """Counts the looks."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.looks = 0

    async def find(self, token_id: str) -> tuple[AccessToken | None, bool]:
        self.looks += 1
        return await super().find(token_id)


async def test_many_calls_with_a_token_are_one_look(store: Store) -> None:
    """Good and bad ones; and who asks while another looks waits for that one."""
    token, counting = await add_token(store), CountingStore(store)
    known = KnownTokens(counting)
    answers = await asyncio.gather(*(known.ask(given) for given in [token, "sk-none"] * 50))
    assert [answer.token is not None for answer in answers] == [True, False] * 50
    assert counting.looks == 2


async def test_remembered_answers_are_bounded(store: Store) -> None:
    """Whoever tries tokens fills no memory."""
    known = KnownTokens(TokenStore(store))
    for _ in range(0, MOST + 500, 100):
        await asyncio.gather(*(known.ask(new_token()) for _ in range(100)))
    assert len(known._kept) == MOST


async def test_caller_that_leaves_in_the_middle_of_a_look_disturbs_nobody(store: Store) -> None:
    token = await add_token(store)
    known = KnownTokens(TokenStore(store))
    leaving, staying = (asyncio.create_task(known.ask(token)) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying).token is not None


@pytest.mark.parametrize(
    ("bind", "is_local"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("192.168.1.5:1", False),
        ("example.org:1", False),
    ],
)
def test_loopback_addresses(bind: str, is_local: bool) -> None:
    assert is_loopback(bind) == is_local


async def test_open_address_needs_a_token_to_start(store: Store, make_settings: MakeSettings) -> None:
    tokens = TokenStore(store)
    await check_bind(make_settings(CHATQ_API__BIND="127.0.0.1:0"), tokens)
    await check_bind(make_settings(CHATQ_API__BIND="0.0.0.0:0", CHATQ_AUTH__TOKEN=STATIC), tokens)
    opened = make_settings(CHATQ_API__BIND="0.0.0.0:0", CHATQ_AUTH__ALLOWED_IPS='["10.0.0.0/8"]')
    with pytest.raises(ConfigError, match="no token"):
        await check_bind(opened, tokens)
    await add_token(store)
    await check_bind(opened, tokens)


async def test_open_address_stays_closed_when_the_last_token_is_revoked(serve: Serve, store: Store) -> None:
    """Whoever reaches it from elsewhere would else be let in as an administrator."""
    async with serve(CHATQ_API__BIND="0.0.0.0:1") as api:
        assert [await status(api), await status(api, new_token())] == [401, 401]
        assert await status(api, await add_token(store)) == 404


async def test_without_redis_a_made_token_is_neither_right_nor_wrong(
    redis_server: RedisServer, serve: Serve, store: Store
) -> None:
    token = await add_token(store)
    async with serve(
        CHATQ_AUTH__TOKEN=STATIC, CHATQ_REDIS__RETRY_S="0", CHATQ_REDIS__SOCKET_TIMEOUT_S="0.3"
    ) as api:
        assert redis_server.process is not None
        redis_server.process.send_signal(signal.SIGSTOP)
        try:
            assert (await api.get(NO_JOB, headers=bearer(token))).status_code == 503
            assert (await api.get(NO_JOB, headers=bearer("wrong"))).status_code == 401
            assert (await api.get("/health")).status_code == 200
            assert (await api.get("/ready")).status_code == 503
        finally:
            redis_server.process.send_signal(signal.SIGCONT)
        await wait_for_ready(api)


async def wait_for_ready(api: httpx.AsyncClient) -> None:
    async with asyncio.timeout(10):
        while (await api.get("/ready")).status_code != 200:
            await asyncio.sleep(0.05)


async def test_tokens_are_listed_and_revoked_by_their_public_part(store: Store) -> None:
    tokens = TokenStore(store)
    first, second = await add_token(store, note="one"), await add_token(store, note="two")
    assert [(token.id, token.note) for token in await tokens.all()] == [
        (id_of(first), "one"),
        (id_of(second), "two"),
    ]
    await tokens.revoke(id_of(first))
    with pytest.raises(TokenNotFound):
        await tokens.revoke(id_of(first))
    assert await tokens.exist()


async def test_number_of_tokens_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.store.tokens.MAX_TOKENS", 1)
    await add_token(store)
    with pytest.raises(TooManyTokens):
        await add_token(store)


async def test_redis_holds_no_token(store: Store) -> None:
    token = await add_token(store)
    kept: dict[bytes, Any] = await store.client.hgetall(keys.TOKENS)  # type: ignore[misc]
    assert token not in repr(kept)
    assert token[len(id_of(token)) :] not in repr(kept)
