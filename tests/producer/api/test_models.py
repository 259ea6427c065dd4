"""Models: names of providers, groups and tiers, and what llama-swap tells of one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from shared.store.connect import Store
from tests.producer.api.conftest import Serve, serve_app
from tests.producer.api.tokens import add_token, bearer


async def test_list_has_groups_tiers_and_models_of_registered_providers(serve: Serve) -> None:
    async with serve(**{"CHATQ_CATALOGUE__OPENROUTER/MINE__CONTEXT_TOKENS": "1000"}) as api:
        body = (await api.get("/models")).json()
    owners = {model["id"]: model["owned_by"] for model in body["data"]}
    assert body["object"] == "list"
    assert owners["local_fast"] == "chatq:tier"
    assert owners["dispatcher"] == "chatq:group"
    assert "openai" not in owners.values()


async def test_one_is_found_by_its_name_with_slashes(api: httpx.AsyncClient) -> None:
    """Also one that only its provider knows; what leads nowhere is 404."""
    found = (await api.get("/models/openrouter/some/model")).json()
    assert found["id"] == "openrouter/some/model"
    assert found["owned_by"] == "openrouter"
    missing = await api.get("/models/openai/gpt")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


async def test_token_finds_the_models_that_it_may_ask_for(api: httpx.AsyncClient, store: Store) -> None:
    headers = bearer(await add_token(store, models=("ollama/*",)))
    found = [await api.get(f"/models/{name}", headers=headers) for name in ("ollama/m", "openrouter/m")]
    assert [answer.status_code for answer in found] == [200, 404]
    assert found[1].json()["error"]["code"] == "model_not_found"


@asynccontextmanager
async def llama_swap() -> AsyncIterator[str]:
    """A backend that tells the properties of `loaded` and of nothing else; its address."""

    async def props(request: Request) -> JSONResponse:
        is_loaded = request.path_params["model"] == "loaded"
        return JSONResponse({"n_ctx": 4096} if is_loaded else {}, 200 if is_loaded else 404)

    app = Starlette(routes=[Route("/upstream/{model}/props", props)])
    async with serve_app(app) as url:
        yield url


async def test_properties_are_those_of_the_first_backend_that_tells_them(serve: Serve) -> None:
    async with (
        llama_swap() as url,
        serve(
            CHATQ_PROVIDERS__SWAP__WIRE="openai",
            CHATQ_PROVIDERS__SWAP__BASE_URL=f"{url}/v1",
            CHATQ_GROUPS__TWO__TARGETS='["swap/other", "swap/loaded"]',
            CHATQ_GROUPS__TWO__STRATEGY="failover",
        ) as api,
    ):
        base = str(api.base_url).removesuffix("/v1/")
        assert (await api.get(f"{base}/upstream/two/props")).json() == {"n_ctx": 4096}
        assert (await api.get(f"{base}/upstream/swap/other/props")).status_code == 503
        assert (await api.get(f"{base}/upstream/openai/gpt/props")).status_code == 404
