"""The record of every chat call: the latest in memory, all of them in a JSONL file if one is named."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import orjson

_FLUSH_S = 0.1
"""A record is in the file at most this long after its call ended."""


@dataclass(slots=True)
class CallRecord:
    """One chat call, refused ones included. Health checks and model lists are not recorded."""

    arrived_at: float
    """Unix seconds when the request was complete."""
    wire: str
    """`ollama`, `ollama_generate`, `openai`, `responses`, `gemini` or `anthropic`."""
    path: str
    job: str | None
    """Header `X-Chatq-Job`."""
    attempt: str | None
    """Header `X-Chatq-Attempt`."""
    source: str | None
    """Header `X-Source`."""
    n: int = 0
    """Place in the log, from 1, in the order in which calls ended."""
    ended_at: float = 0.0
    """Unix seconds when the last byte was handed over or the connection was gone."""
    model: str | None = None
    """None when the request could not be read."""
    digest: str | None = None
    status: int | None = None
    """What was sent; 499 when the client left before any of it; None when the simulator sent nothing."""
    fault: str | None = None
    """The injected fault; None also for calls refused by key, model or limits."""
    prompt_tokens: int = 0
    output_tokens: int = 0
    """0 unless an answer was generated, even if its delivery failed."""
    sent_bytes: int = 0
    """Head and body."""
    started_s: float | None = None
    """When the limits admitted the call; None when it was refused before or by them. Seconds on the machine's
    monotonic clock, the same for all its processes."""
    ended_s: float = 0.0
    """When its slot was given back, on the same clock."""
    charged_tokens: int = 0
    """What the limits charged on admission."""


class CallLog:
    """Numbers, keeps and writes records."""

    def __init__(self, ring: int, path: Path | None) -> None:
        self._ring: deque[CallRecord] = deque(maxlen=ring)
        self._path = path
        self._file: IO[bytes] | None = None
        self._unwritten: list[CallRecord] = []
        self._flusher: asyncio.TimerHandle | None = None
        self._last_n = 0

    def open(self) -> None:
        """Open the file for appending.

        Raises:
            OSError: It cannot be opened.
        """
        if self._path is not None:
            self._file = self._path.open("ab", buffering=0)

    def close(self) -> None:
        """Write what is left and close the file."""
        self._flush()
        if self._file is not None:
            self._file.close()
            self._file = None

    def append(self, record: CallRecord) -> None:
        """Add the record of an ended call; must run in the event loop."""
        self._last_n += 1
        record.n = self._last_n
        self._ring.append(record)
        if self._file is not None:
            self._unwritten.append(record)
            if self._flusher is None:
                self._flusher = asyncio.get_running_loop().call_later(_FLUSH_S, self._flush)

    def clear(self) -> None:
        """Forget the records in memory and number from 1 again. The file keeps what it has."""
        self._flush()
        self._ring.clear()
        self._last_n = 0

    def records(self, since: int = 0) -> list[CallRecord]:
        """The records in memory with a number above `since`, oldest first."""
        forgotten = self._last_n - len(self._ring)
        return list(itertools.islice(self._ring, max(0, since - forgotten), None))

    def _flush(self) -> None:
        if self._flusher is not None:
            self._flusher.cancel()
            self._flusher = None
        if self._file is not None and self._unwritten:
            self._file.write(encode(self._unwritten))
        self._unwritten = []


def encode(records: list[CallRecord]) -> bytes:
    """Records as JSON lines."""
    return b"".join([orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in records])


def decode(lines: bytes) -> list[CallRecord]:
    """The records of a log file or page.

    Raises:
        ValueError: A line is no JSON.
        TypeError: A line is no record.
    """
    return [CallRecord(**orjson.loads(line)) for line in lines.splitlines()]
