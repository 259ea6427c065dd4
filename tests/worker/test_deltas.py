"""Pieces of streamed answers on their way into the store: together, in order, bounded, never in the way."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from shared.errors import StoreFull, StoreUnavailable
from shared.store.grants import Grant
from tests.support import wait_until
from worker import deltas as deltas_module
from worker.deltas import DeltaSink, DeltaWriter


class FakeStore:
    """Takes the writer's calls; each waits until it is let go."""

    def __init__(self) -> None:
        self.written: dict[str, list[tuple[int, str]]] = {}
        self.calls = 0
        self.errors: list[Exception] = []
        self.let_go = asyncio.Event()
        self.let_go.set()

    async def run(self, name: str, args: list[Any], *, retry_s: float) -> list[bytes]:
        assert (name, retry_s > 0) == ("append_deltas", True)
        self.calls += 1
        await self.let_go.wait()
        if self.errors:
            raise self.errors.pop(0)
        codes, at = [], 1
        while at < len(args):
            job_id, _, first, count = args[at : at + 4]
            pieces = self.written.setdefault(job_id, [])
            for number, piece in enumerate(args[at + 4 : at + 4 + count], first):
                if number > len(pieces):
                    pieces.append((number, text_of(orjson.loads(piece))))
            codes.append(b"ok")
            at += 4 + count
        return codes

    def text(self, job_id: str = "a") -> str:
        pieces = self.written.get(job_id, [])
        assert [number for number, _ in pieces] == list(range(1, len(pieces) + 1))
        return "".join(text for _, text in pieces)


def text_of(choices: list[dict[str, Any]]) -> str:
    return "".join(choice["delta"].get("content", "") for choice in choices)


def whole(text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}


def say(sink: DeltaSink, *texts: str) -> None:
    for text in texts:
        sink.put([{"index": 0, "delta": {"content": text}, "finish_reason": None}])


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def writer(store: FakeStore) -> DeltaWriter:
    return DeltaWriter(store)  # type: ignore[arg-type]


def sink_of(writer: DeltaWriter, job_id: str = "a") -> DeltaSink:
    return writer.open(Grant(job_id, "1-n", "p.default", b"", b"", 1, 3, None, None, 0.0, 0))


async def test_what_comes_during_a_write_goes_with_the_next(store: FakeStore, writer: DeltaWriter) -> None:
    """One write in flight a process, whoever's pieces they are."""
    one, other = sink_of(writer), sink_of(writer, "b")
    store.let_go.clear()
    say(one, "a")
    await wait_until(lambda: store.calls == 1)
    say(one, "b", "c")
    say(other, "x")
    store.let_go.set()
    await wait_until(lambda: (store.text(), store.text("b")) == ("abc", "x"))
    assert store.calls == 2


async def test_outage_keeps_the_order(
    store: FakeStore, writer: DeltaWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deltas_module, "RETRY_S", 0.01)
    store.errors = [StoreUnavailable("away"), StoreUnavailable("away")]
    sink = sink_of(writer)
    say(sink, "a", "b")
    await wait_until(lambda: store.calls == 1)
    say(sink, "c")
    await wait_until(lambda: store.text() == "abc")


async def test_full_store_ends_the_pieces_of_an_answer(store: FakeStore, writer: DeltaWriter) -> None:
    """What is there stays its beginning: nothing comes after a gap."""
    sink = sink_of(writer)
    say(sink, "a")
    await wait_until(lambda: store.text() == "a")
    store.errors = [StoreFull("full")]
    say(sink, "b")
    await wait_until(lambda: store.calls == 2)
    await sink.finish(whole("abc"))
    assert (store.text(), store.calls) == ("a", 2)


@pytest.mark.parametrize("bound", ["MAX_BYTES", "MAX_WAITING_BYTES"])
async def test_pieces_are_bounded(
    store: FakeStore, writer: DeltaWriter, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    """Of an answer, and of all that wait for Redis; again the beginning stays whole."""
    monkeypatch.setattr(deltas_module, bound, 200)
    store.let_go.clear()
    sink = sink_of(writer)
    say(sink, *"abcdefgh")
    store.let_go.set()
    await sink.finish(whole("abcdefgh"))
    assert 1 <= len(store.text()) < 8
    assert "abcdefgh".startswith(store.text())


async def test_room_is_given_back(
    store: FakeStore, writer: DeltaWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces that were written or dropped make place for others."""
    monkeypatch.setattr(deltas_module, "MAX_WAITING_BYTES", 200)
    for number in range(20):
        sink = sink_of(writer, f"job-{number}")
        say(sink, "a")
        if number % 2:
            assert not sink.close()
        else:
            await sink.finish(whole("ab"))
            assert store.text(f"job-{number}") == "ab"


async def test_failure_before_a_write_leaves_nothing(store: FakeStore, writer: DeltaWriter) -> None:
    """The call may be made again."""
    sink = sink_of(writer)
    say(sink, "a")
    assert not sink.close()
    await writer.close()
    assert (store.text(), store.calls) == ("", 0)


async def test_failure_after_a_write_has_told_something(store: FakeStore, writer: DeltaWriter) -> None:
    """Also when nobody knows yet whether it got there."""
    sink = sink_of(writer)
    store.let_go.clear()
    say(sink, "a")
    await wait_until(lambda: store.calls == 1)
    assert sink.close()
    store.let_go.set()


async def test_whole_answer_is_told_to_its_end(store: FakeStore, writer: DeltaWriter) -> None:
    """What no piece said, and why it finished; written when it returns."""
    sink = sink_of(writer)
    say(sink, "hel")
    await sink.finish(whole("hello"))
    assert (store.text(), len(store.written["a"])) == ("hello", 2)


async def test_answer_in_one_piece_has_no_pieces(store: FakeStore, writer: DeltaWriter) -> None:
    await sink_of(writer).finish(whole("hello"))
    assert store.calls == 0


async def test_answer_does_not_wait_for_its_pieces_for_long(
    store: FakeStore, writer: DeltaWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis is away: the answer goes to be settled, as ever."""
    monkeypatch.setattr(deltas_module, "FLUSH_S", 0.05)
    store.let_go.clear()
    sink = sink_of(writer)
    say(sink, "a")
    async with asyncio.timeout(1):
        await sink.finish(whole("ab"))
    store.let_go.set()


async def test_piece_that_cannot_be_written_ends_the_pieces(store: FakeStore, writer: DeltaWriter) -> None:
    """JSON may be read deeper than it can be written."""
    deep: Any = "x"
    for _ in range(300):
        deep = [deep]
    sink = sink_of(writer)
    say(sink, "a")
    sink.put([{"index": 0, "delta": {"annotations": deep}, "finish_reason": None}])
    say(sink, "b")
    await wait_until(lambda: store.calls == 1)
    assert store.text() == "a"
