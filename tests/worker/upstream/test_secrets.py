"""Keys: never in an error, whatever the upstream says or the operator wrote."""

from __future__ import annotations

import traceback
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from shared.errors import ConfigError, UpstreamError
from tests.worker.upstream.conftest import KEY, Caller
from tests.worker.upstream.loopback import GOOD

Ask = Any

PLAIN_KEY = "correct-horse-battery"
"""A key that no pattern would find."""

ECHOES = [
    httpx.Response(401, json={"error": {"message": f"Incorrect API key provided: {PLAIN_KEY}"}}),
    httpx.Response(500, text=f"<html><title>{PLAIN_KEY}</title>"),
    httpx.Response(400, text="x" * 490 + PLAIN_KEY),
    httpx.Response(200, json={"error": f"bad key {PLAIN_KEY}"}),
    httpx.Response(200, json={"error": "x" * 480 + PLAIN_KEY}),
    httpx.Response(200, text=f"key={PLAIN_KEY} is wrong"),
    httpx.Response(200, json={**GOOD, "choices": [{"error": {"message": PLAIN_KEY}}]}),
]


@pytest.mark.parametrize("answer", ECHOES)
@pytest.mark.parametrize("place", ["key", "header"])
async def test_echoed_key_is_not_in_the_error(ask: Ask, answer: httpx.Response, place: str) -> None:
    """An upstream that repeats the key, or a secret header, does not get it into logs: not even half of it."""
    secret = {"key": SecretStr(PLAIN_KEY)} if place == "key" else {"headers": {"X-Api-Key": PLAIN_KEY}}
    with pytest.raises(UpstreamError) as caught:
        await ask(answer, **secret)
    shown = "".join(traceback.format_exception(caught.value))
    assert PLAIN_KEY[:8] not in shown


async def test_answer_with_a_short_key_is_untouched(ask: Ask) -> None:
    """A dummy key such as `hello` is a word like any other in an answer."""
    answer = await ask(httpx.Response(200, json=GOOD), key=SecretStr("hello"))
    assert answer.response["choices"][0]["message"]["content"] == "hello"


@pytest.mark.parametrize("key", ["two\nlines-of-key", "schlüssel"])
def test_impossible_key_is_a_config_error(caller: Caller, key: str) -> None:
    """A key that no header can hold is refused at start, and not shown."""
    with pytest.raises(ConfigError, match="the key of test") as caught:
        caller.open("http://upstream.test", key=SecretStr(key))
    assert key not in str(caught.value)


def test_framing_header_is_a_config_error(caller: Caller) -> None:
    """How the message is framed is not for settings to say."""
    with pytest.raises(ConfigError, match="content-LENGTH"):
        caller.open("http://upstream.test", headers={"content-LENGTH": "5"})


async def test_error_of_a_real_key_shape_is_redacted(ask: Ask) -> None:
    """Somebody else's key in an error text is hidden too."""
    other = "sk-live-ABCDEFGHIJKLMNOP"
    with pytest.raises(UpstreamError) as caught:
        await ask(httpx.Response(401, json={"error": f"key {other} and {KEY} and Bearer abc.def-123456"}))
    assert "ABCDEF" not in str(caught.value)
    assert "abc.def" not in str(caught.value)
