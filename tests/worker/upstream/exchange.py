"""Exchanges with a provider's own API (fixtures/README.md), and a check of one wire against one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from shared import errors
from tests.worker.upstream.loopback import chat_request
from worker.dialect import Dialect
from worker.upstream.answers import read_answer
from worker.upstream.wire import Wire

FIXTURES = Path(__file__).parent / "fixtures"


def exchange_of(folder: str, name: str) -> dict[str, Any]:
    """One exchange."""
    found: dict[str, Any] = orjson.loads((FIXTURES / folder / f"{name}.json").read_bytes())
    return found


async def check_call(wire: str, ask: Any, *, path: str, headers: dict[str, str]) -> None:
    """One call the whole way, through the client: where it goes, what goes with it, what comes back.

    Args:
        wire: Its name in settings, which is its folder here.
        ask: The fixture.
        path: Where the call goes to for the model `m`.
        headers: Among those that are sent.
    """
    exchange = exchange_of(wire, "plain")
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=exchange["answered"])

    answer = await ask(
        handler, chat_request(**exchange["asked"]), wire=wire, base_url="http://upstream.test/v1"
    )
    assert str(seen[0].url) == f"http://upstream.test/v1{path}"
    assert headers.items() <= dict(seen[0].headers).items()
    assert answer.response["choices"][0]["message"] == exchange["read"]["message"]
    assert answer.response["chatq"]["usage"] == exchange["read"]["usage"]


def exchanges(folder: str) -> list[Any]:
    """The exchanges in a folder, as parameters named after their files."""
    files = sorted((FIXTURES / folder).glob("*.json"))
    return [pytest.param(orjson.loads(file.read_bytes()), id=file.stem) for file in files]


def check_request(wire: Wire, exchange: dict[str, Any]) -> None:
    """The request is said exactly as the exchange has it."""
    assert wire.request_body(chat_request(**exchange["asked"]), exchange["model"], {}) == exchange["sent"]


def check_answer(wire: Wire, dialect: Dialect, exchange: dict[str, Any]) -> None:
    """The answer is read as the exchange has it, or is the error that it names."""
    body = orjson.dumps(exchange["answered"])
    if "raises" in exchange:
        with pytest.raises(errors.UpstreamError) as caught:
            wire.completion(read_answer(body, dialect), exchange["model"])
        error = {"kind": type(caught.value).__name__, "code": caught.value.code}
        assert (error, caught.value.maybe_billed) == (exchange["raises"], True)
        return
    response, usage, finish_reason = wire.completion(read_answer(body, dialect), exchange["model"])
    choice: dict[str, Any] = response["choices"][0]
    assert (choice["finish_reason"], response["object"]) == (finish_reason, "chat.completion")
    read: dict[str, Any] = {"message": choice["message"], "finish_reason": finish_reason, "usage": usage}
    assert read == exchange["read"]
