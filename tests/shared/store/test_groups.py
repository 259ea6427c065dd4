"""Groups made at run time: what is set is read, and everybody can see that something changed."""

from __future__ import annotations

from shared.settings import GroupSettings
from shared.store.groups import MAX_GROUP_BYTES, GroupStore
from tests.shared.store.conftest import Bench

GROUP = GroupSettings(strategy="heuristic", targets=("ollama/small", "openai/large"), logic_level=3)


async def test_what_is_set_is_read(bench: Bench) -> None:
    groups = GroupStore(bench.store)
    assert await groups.read() == (0, {})
    version = await groups.set("mine", GROUP)
    assert await groups.read() == (version, {"mine": GROUP})


async def test_each_change_has_a_version_of_its_own(bench: Bench) -> None:
    groups = GroupStore(bench.store)
    versions = [await groups.version(), await groups.set("a", GROUP), await groups.delete("a")]
    assert versions == sorted(set(versions))
    assert await groups.version() == versions[-1]
    assert (await groups.read())[1] == {}


async def test_what_is_no_group_is_left_out(bench: Bench) -> None:
    """Anybody can write to Redis."""
    groups = GroupStore(bench.store)
    await groups.set("good", GROUP)
    bench.raw.hset("chatq:groups", "junk", "no json")
    bench.raw.hset("chatq:groups", "other", '{"strategy": "oracle", "targets": ["a"]}')
    bench.raw.hset("chatq:groups", "huge", " " * MAX_GROUP_BYTES + "{}")
    assert list((await groups.read())[1]) == ["good"]
