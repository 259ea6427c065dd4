"""Where limits come from: settings of the newest worker, and changes while the fleet runs."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from shared.store.call_result import Blame
from tests.shared.store.conftest import Bench

POLICY = b'{"probes": 2}'


async def configure(
    bench: Bench, accounts: dict[str, str], limits: dict[str, dict[str, Any]], policy: bytes = POLICY
) -> int:
    """What a starting worker does; accounts by provider."""
    args: list[str | bytes | int] = [policy, len(accounts)]
    for provider, account in accounts.items():
        args += (provider, account)
    for scope, stated in limits.items():
        args += (scope, orjson.dumps(stated))
    published: int = await bench.store.run("configure_limits", args)
    return published


def layers(bench: Bench, scope: str) -> Any:
    return orjson.loads(bench.raw.hget("chatq:limits", scope) or b"null")


async def test_change_counts_from_the_next_claim(bench: Bench) -> None:
    """Also for what runs: slots taken before count."""
    await bench.submit(*(f"j{n}" for n in range(10)))
    assert len(await bench.claim(3)) == 3
    assert (await bench.limits.set("account:p", {"concurrency": 4}))["concurrency"] == 4
    assert len(await bench.claim(10)) == 1
    await bench.limits.set("account:p", {"concurrency": 6})
    assert len(await bench.claim(10)) == 2


async def test_zero_is_no_limit(bench: Bench) -> None:
    """It goes over what the settings say."""
    await configure(bench, {"p": "p"}, {"account:p": {"rpm": 1}})
    await bench.limits.set("account:p", {"rpm": 0})
    await bench.submit("a", "b", "c")
    assert len(await bench.claim()) == 3


async def test_null_goes_back_to_the_settings(bench: Bench) -> None:
    """A change is taken back; the others of the scope stay."""
    await configure(bench, {"p": "p"}, {"account:p": {"rpm": 7, "tpm": 8}})
    await bench.limits.set("account:p", {"rpm": 1, "tpm": 2})
    in_force = await bench.limits.set("account:p", {"rpm": None})
    assert (in_force["rpm"], in_force["tpm"], in_force["concurrency"]) == (7, 2, 100_000)


async def test_last_change_taken_back_leaves_nothing(bench: Bench) -> None:
    """A scope without settings is forgotten."""
    await bench.limits.set("client:c", {"rpm": 1})
    await bench.limits.set("client:c", {"rpm": None})
    assert layers(bench, "client:c") is None


async def test_change_forgets_what_was_learned(bench: Bench) -> None:
    """The operator knows better than an old error; what is closed stays closed."""
    await bench.submit("a", "b", queue="q.default")
    (grant,) = await bench.claim(1, load=["q"])
    await bench.limit(grant, Blame("account", "rate", wait_s=50, dimension="requests", limit=2))
    assert bench.state("account:q")["stated_rpm"] == 2
    await bench.limits.set("account:q", {"rpm": 600})
    assert "stated_rpm" not in bench.state("account:q")
    assert await bench.claim(load=["q"]) == []


async def test_change_pays_off_old_debt(bench: Bench) -> None:
    """What was counted by another limit says nothing under the new one."""
    await bench.limits.set("account:p", {"tpm": 1000})
    await bench.submit("a", "b")
    (grant,) = await bench.claim(1)
    await bench.answer(grant, prompt=10, output=3000)
    await bench.limits.set("account:p", {"tpm": 10**6})
    assert len(await bench.claim()) == 1


@pytest.mark.parametrize("change", [{"concurrency": 5}, {"rpm": 600}, {"weight": 2}])
async def test_change_gives_no_fresh_burst(bench: Bench, change: dict[str, float]) -> None:
    """What was drawn stays drawn, however often something is set."""
    await bench.limits.set("account:p", {"rpm": 600})
    await bench.submit(*(f"j{n}" for n in range(40)))
    granted = len(await bench.claim(40))
    for _ in range(5):
        await bench.limits.set("account:p", change)
        granted += len(await bench.claim(40))
    assert granted <= 8  # a burst of 5, and what the test's own time lets pass


async def test_lower_limit_makes_what_was_drawn_dearer(bench: Bench) -> None:
    """A burst at the old rate is paid off at the new one."""
    await bench.limits.set("account:p", {"rpm": 1200})
    await bench.submit(*(f"j{n}" for n in range(20)))
    assert len(await bench.claim(20)) >= 9
    await bench.limits.set("account:p", {"rpm": 60})
    bench.let_time_pass(5)
    assert await bench.claim() == []
    bench.let_time_pass(6)
    assert len(await bench.claim()) == 1


async def test_higher_limit_frees_held_jobs_at_once(bench: Bench) -> None:
    """Jobs put aside until the next minute are looked at again, and workers are woken."""
    bench.raw.hset("chatq:accounts", "p", "p")
    await bench.limits.set("model:p/m", {"tpm": 100})
    await bench.submit("a", "b", prompt_tokens=100)
    assert len(await bench.claim()) == 1
    assert (await bench.look()).grants == []
    await bench.limits.set("model:p/m", {"tpm": 10**6})
    assert [g.job_id for g in await bench.claim()] == ["b"]


async def test_settings_replace_the_settings_before(bench: Bench) -> None:
    """Of a worker's own accounts and models: what is gone from the file goes."""
    assert await configure(bench, {"p": "p"}, {"account:p": {"rpm": 1}, "model:p/m": {"rpm": 2}}) == 2
    assert await configure(bench, {"p": "p"}, {"model:p/n": {"rpm": 3}}) == 1
    assert layers(bench, "model:p/m") is None
    assert layers(bench, "model:p/n") == {"file": {"rpm": 3}}
    assert layers(bench, "account:p") == {"set": {"concurrency": 100_000}}


async def test_changes_outlive_settings(bench: Bench) -> None:
    """A restarted worker publishes its file again; what was set at run time stays."""
    await configure(bench, {"p": "p"}, {"account:p": {"rpm": 10}})
    await bench.limits.set("account:p", {"rpm": 5})
    await configure(bench, {"p": "p"}, {"account:p": {"rpm": 20}})
    assert layers(bench, "account:p") == {"file": {"rpm": 20}, "set": {"rpm": 5, "concurrency": 100_000}}


async def test_other_accounts_are_not_touched(bench: Bench) -> None:
    """Workers may serve different providers."""
    await configure(bench, {"q": "theirs"}, {"account:theirs": {"rpm": 1}, "model:theirs/m": {"rpm": 2}})
    await configure(bench, {"p": "p"}, {"account:p": {"rpm": 3}})
    assert layers(bench, "account:theirs") == {"file": {"rpm": 1}}
    assert layers(bench, "model:theirs/m") == {"file": {"rpm": 2}}
    assert await bench.limits.accounts() == {"p": "p", "q": "theirs"}


async def test_clients_are_everybodys(bench: Bench) -> None:
    """The newest start says which there are."""
    await configure(bench, {"q": "q"}, {"client:a": {"rpm": 1, "weight": 2}})
    await configure(bench, {"p": "p"}, {"client:b": {"rpm": 1, "weight": 1}})
    assert (layers(bench, "client:a"), layers(bench, "client:b")) == (None, {"file": {"rpm": 1, "weight": 1}})


async def test_publishing_twice_changes_nothing(bench: Bench) -> None:
    """A lost reply costs nothing."""
    limits = {"account:p": {"rpm": 3, "charge": "max(prompt,max)"}, "client:c": {"weight": 2.5}}
    await configure(bench, {"p": "p"}, limits)
    before = bench.raw.hgetall("chatq:limits")
    await configure(bench, {"p": "p"}, limits)
    assert bench.raw.hgetall("chatq:limits") == before


async def test_policy_is_the_newest_workers(bench: Bench) -> None:
    """Numbers of the breaker count for the whole fleet."""
    await configure(bench, {"p": "p"}, {}, b'{"min_calls": 2, "open_ms": 5000}')
    await bench.submit("a", "b", "c")
    await bench.fail(*await bench.claim(2))
    claimed = await bench.look()
    assert claimed.look_again_s == pytest.approx(5, abs=0.1)


@pytest.mark.parametrize(
    "broken", ["x", "[]", '{"file": 3}', '{"set": {"rpm": "x"}}', '{"file": {"rpm": -1}}']
)
async def test_broken_limits_are_none(bench: Bench, broken: str) -> None:
    """Anybody can write to Redis; a change makes them right again."""
    bench.raw.hset("chatq:limits", "account:p", broken)
    await bench.submit("a", "b", "c")
    assert len(await bench.claim(2)) == 2
    await bench.limits.set("account:p", {"concurrency": 2})
    assert await bench.claim() == []
