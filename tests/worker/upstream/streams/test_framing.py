"""Where the events of a stream begin and end."""

from __future__ import annotations

import pytest

from worker.upstream.streams.framing import Framing, NdjsonFraming, SseFraming


def events(framing: Framing, *chunks: bytes) -> list[bytes]:
    found = [event for chunk in chunks for event in framing.feed(chunk)]
    return found + framing.end()


SSE = [
    ([b"data: 1\n\ndata: 2\n\n"], [b" 1", b" 2"]),
    ([b"data:1\r\n\r\n"], [b"1\r"]),
    ([b"data: {\ndata: }\n\n"], [b" {\n }"]),
    ([b": keep-alive\n\n: OPENROUTER PROCESSING\n\n"], []),
    ([b"event: ping\nid: 7\nretry: 10\ndata: 1\n\n"], [b" 1"]),
    ([b"da", b"ta: 1", b"\n", b"\n"], [b" 1"]),
    ([b"data: 1"], [b" 1"]),
    ([b"data: 1\n\n\n\n\n"], [b" 1"]),
    ([b'data: 1\n\n{"error":\n {"code": 503}}\n'], [b" 1", b'{"error":\n {"code": 503}}']),
    ([], []),
]


@pytest.mark.parametrize(("chunks", "found"), SSE)
def test_server_sent_events(chunks: list[bytes], found: list[bytes]) -> None:
    """Data of each event; comments and names left out; lines without a field kept for the end."""
    assert events(SseFraming(), *chunks) == found


NDJSON = [
    ([b'{"a":1}\n{"a":2}\n'], [b'{"a":1}', b'{"a":2}']),
    ([b'{"a"', b":1}", b"\n\n \n"], [b'{"a":1}']),
    ([b'{"a":1}'], [b'{"a":1}']),
    ([b"\n"], []),
]


@pytest.mark.parametrize(("chunks", "found"), NDJSON)
def test_json_lines(chunks: list[bytes], found: list[bytes]) -> None:
    """One event a line; the last line may have no end."""
    assert events(NdjsonFraming(), *chunks) == found


@pytest.mark.parametrize("framing", [SseFraming(), NdjsonFraming()])
def test_what_is_held_back_is_counted(framing: Framing) -> None:
    """A line that never ends can be refused before it fills the memory."""
    framing.feed(b"data: 12345")
    assert framing.pending_bytes == 11
    framing.feed(b"678\n")
    framing.feed(b"\n")
    assert framing.pending_bytes == 0
