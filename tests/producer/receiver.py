"""A receiver of webhooks on loopback, and settings that let it be called."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from shared.settings import WebhookSettings

SECRET = "whsec_" + "c2VjcmV0IG9mIHRoZSB0ZXN0cyE="


@dataclass(frozen=True)
class Received:
    """One call as a receiver saw it."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> Any:
        return orjson.loads(self.body)


@dataclass
class Receiver:
    """Answers each call with the next of its answers, the last one for ever; notes what it was sent."""

    answers: list[bytes]
    calls: list[Received] = field(default_factory=list)
    held: asyncio.Event = field(default_factory=asyncio.Event)
    """Answers wait for this; set unless a test clears it."""
    most_at_once: int = 0
    url: str = ""
    _at_once: int = 0

    def answer(self, *statuses: int, **headers: str) -> None:
        """What the next calls are answered with; the last one counts for all that follow."""
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        self.answers[:] = [
            f"HTTP/1.1 {status} Word\r\n{lines}content-length: 0\r\n\r\n".encode() for status in statuses
        ]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one call."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        request, *lines = head.split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
        body = await reader.readexactly(int(headers["content-length"]))
        self.calls.append(Received(request.split(" ")[1], headers, body))
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        await self.held.wait()
        self._at_once -= 1
        writer.write(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
        writer.close()


def webhook_settings(**fields: Any) -> WebhookSettings:
    """Settings for a receiver on loopback, with short delays."""
    given = {"secret": SECRET, "allow_private": True, "first_backoff_s": 0.01, "longest_backoff_s": 0.05}
    return WebhookSettings.model_validate({**given, **fields}, strict=False)
