"""`chatq tokens`: make, list, revoke."""

from __future__ import annotations

import re
import time

import orjson
import pytest

from shared.access_token import digest_of
from tests.producer.cli.conftest import RunChatq
from tests.support import RedisServer


@pytest.fixture
def run(run_chatq: RunChatq, redis_url: str) -> RunChatq:
    """Commands on the test's Redis."""
    return lambda *args, **env: run_chatq(*args, CHATQ_REDIS_URL=redis_url, **env)


def test_token_is_printed_once_and_kept_hashed(run: RunChatq, redis_server: RedisServer) -> None:
    """It stands on standard output alone, for a script; the list has its public part only."""
    made = run("tokens", "create", "--client", "alice", "--note", "for the tests")
    token = made.stdout.strip()
    assert re.fullmatch(r"cq_[A-Za-z0-9_-]{43}", token)
    listed = run("tokens", "list").output
    assert token[:11] in listed
    assert "for the tests" in listed
    assert token not in listed
    with redis_server.client() as raw:
        kept = orjson.loads(raw.hget("chatq:tokens", token[:11]))  # type: ignore[arg-type]
    assert kept["digest"] == digest_of(token)
    assert token not in str(kept)


def test_all_that_a_token_allows_is_listed(run: RunChatq) -> None:
    options = (
        "--client", "bob", "--role", "read", "--lane", "batch", "--lane", "default", "--model", "openai/*",
        "--budget", "2.5", "--expires-in", "1d",
    )  # fmt: skip
    made = orjson.loads(run("tokens", "create", *options, "--json").stdout)
    (listed,) = orjson.loads(run("tokens", "list", "--json").stdout)
    assert {"token": made["token"], **listed} == made
    assert listed["role"] == "read"
    assert (listed["lanes"], listed["models"]) == (["batch", "default"], ["openai/*"])
    assert listed["budget_usd"] == 2.5
    assert 86_000 < listed["expires_at"] - time.time() < 86_401
    assert not listed["is_expired"]
    assert "digest" not in listed


def test_limits_are_the_clients(run: RunChatq) -> None:
    run("tokens", "create", "--client", "carol", "--rpm", "7", "--tpm", "900", "--concurrency", "3")
    (view,) = orjson.loads(run("limits", "show", "client:carol", "--json").stdout)
    assert view["set"] == {"rpm": 7, "tpm": 900, "concurrency": 3}


def test_revoked_token_is_gone(run: RunChatq) -> None:
    """By its id or by itself; the last one leaves a warning, for now everybody here gets in."""
    first, second = (run("tokens", "create", "--client", "c").stdout.strip() for _ in range(2))
    assert "warning" not in run("tokens", "revoke", first[:11]).output
    assert "no token is left" in run("tokens", "revoke", second).output
    assert orjson.loads(run("tokens", "list", "--json").stdout) == []
    again = run("tokens", "revoke", first[:11])
    assert (again.exit_code, "no token" in again.output) == (4, True)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--client", ""), 2),
        (("--client", "x" * 200), 2),
        (("--client", "é"), 2),
        ((), 2),
        (("--client", "c", "--role", "god"), 2),
        (("--client", "c", "--lane", "fast"), 2),
        (("--client", "c", "--budget", "-1"), 2),
        (("--client", "c", "--budget", "nan"), 2),
        (("--client", "c", "--expires-in", "0"), 2),
        (("--client", "c", "--rpm", "0"), 2),
        (("--client", "c", "--note", "x" * 300), 2),
        (("--client", "c", "--model", ""), 2),
    ],
)
def test_wrong_options_make_no_token(run: RunChatq, options: tuple[str, ...], code: int) -> None:
    refused = run("tokens", "create", *options)
    assert refused.exit_code == code, refused.output
    assert orjson.loads(run("tokens", "list", "--json").stdout) == []
