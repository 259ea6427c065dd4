"""Batches as tests make and read them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import openai
from openai.types import Batch

TERMINAL = ("completed", "failed", "expired", "cancelled")

CHAT = "/v1/chat/completions"


def line(custom_id: str, model: str, text: str = "hi", *, url: str = CHAT, **body: Any) -> dict[str, Any]:
    """A request of a batch."""
    asked = {"messages": [{"role": "user", "content": text}]} if url == CHAT else {"input": text}
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": {"model": model, **asked, **body}}


def upload(client: openai.OpenAI, lines: Sequence[dict[str, Any] | str]) -> str:
    """A file of these lines; text stays as it is. Returns the file's id."""
    text = "".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in lines)
    return client.files.create(file=("lines.jsonl", text.encode()), purpose="batch").id


def start(
    client: openai.OpenAI,
    lines: Sequence[dict[str, Any] | str],
    *,
    endpoint: Any = CHAT,
    window: Any = "24h",
    **options: Any,
) -> Batch:
    """A batch of these lines."""
    return client.batches.create(
        input_file_id=upload(client, lines), endpoint=endpoint, completion_window=window, **options
    )


def until(client: openai.OpenAI, batch_id: str, is_it: Callable[[Batch], bool]) -> list[Batch]:
    """Poll until it is so; everything that was seen on the way."""
    seen = [client.batches.retrieve(batch_id)]
    give_up_at = time.monotonic() + 40
    while not is_it(seen[-1]):
        assert time.monotonic() < give_up_at, seen[-1]
        assert seen[-1].status not in TERMINAL, seen[-1]
        time.sleep(0.03)
        seen.append(client.batches.retrieve(batch_id))
    return seen


def until_ended(client: openai.OpenAI, batch_id: str) -> Batch:
    """The batch at its end."""
    return until(client, batch_id, lambda batch: batch.status in TERMINAL)[-1]


def records(client: openai.OpenAI, file_id: str | None) -> dict[str, dict[str, Any]]:
    """Lines of a result file by `custom_id`; none for no file. Fails on a repeated one, and beyond ASCII."""
    if file_id is None:
        return {}
    data = client.files.content(file_id).read()
    assert data.isascii()
    lines = [json.loads(one) for one in data.decode().splitlines()]
    found = {one["custom_id"]: one for one in lines}
    assert len(found) == len(lines)
    assert all(one.keys() >= {"id", "custom_id", "response", "error"} for one in lines)
    return found
