"""Groups made at run time: what is set is read, and everybody can see that something changed."""

from __future__ import annotations

from pathlib import Path

from shared.settings import GroupSettings, RedisSettings
from shared.store.connect import Store
from shared.store.groups import MAX_GROUP_BYTES, GroupStore
from tests.shared.store.conftest import Bench
from tests.shared.store.proxy import Proxy
from tests.support import RedisServer

GROUP = GroupSettings(strategy="heuristic", targets=("ollama/small", "openai/large"), logic_level=3)


async def test_what_is_set_is_read(bench: Bench) -> None:
    groups = GroupStore(bench.store)
    assert await groups.read() == (b"", {})
    await groups.set("mine", GROUP)
    assert await groups.read() == (await groups.version(), {"mine": GROUP})


async def test_each_change_has_a_version_of_its_own(bench: Bench) -> None:
    groups = GroupStore(bench.store)
    versions = [await groups.version()]
    for change in (groups.set("a", GROUP), groups.set("a", GROUP), groups.delete("a")):
        await change
        versions.append(await groups.version())
    assert len(set(versions)) == 4
    assert (await groups.read())[1] == {}


async def test_junk_in_place_of_groups_is_no_group(bench: Bench) -> None:
    """Everything else goes on, and setting a version again mends it."""
    groups = GroupStore(bench.store)
    bench.raw.set("chatq:groups:version", "junk")
    await groups.set("mine", GROUP)
    assert list((await groups.read())[1]) == ["mine"]
    bench.raw.delete("chatq:groups")
    bench.raw.set("chatq:groups", "no hash")
    assert (await groups.read())[1] == {}
    bench.raw.delete("chatq:groups:version")
    bench.raw.rpush("chatq:groups:version", "a list")
    assert await groups.version() == b"?"


async def test_what_is_no_group_is_left_out(bench: Bench) -> None:
    """Anybody can write to Redis."""
    groups = GroupStore(bench.store)
    await groups.set("good", GROUP)
    bench.raw.hset("chatq:groups", "junk", "no json")
    bench.raw.hset("chatq:groups", "other", '{"strategy": "oracle", "targets": ["a"]}')
    bench.raw.hset("chatq:groups", "huge", " " * MAX_GROUP_BYTES + "{}")
    assert list((await groups.read())[1]) == ["good"]


async def test_connection_that_breaks_is_tried_again(redis_server: RedisServer, tmp_path: Path) -> None:
    """A process that starts needs the groups; one bad moment does not end it."""
    async with Proxy(tmp_path, redis_server.socket).running() as proxy:
        store = await Store.open(proxy.url, RedisSettings(url=proxy.url, retry_s=0))
        proxy.refuses = 1
        assert await GroupStore(store).version() == b""
        proxy.refuses = 1
        assert await GroupStore(store).read() == (b"", {})
        await store.close()
