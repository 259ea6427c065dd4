"""Chunks of chat completions: deltas already, some with other names or gaps (docs/provider-wire.md §0, §15)."""

from __future__ import annotations

from typing import Any

from worker.upstream.deltas.delta import Choice

MAX_PARTS = 10_000
"""Choices of an answer, and calls of a choice: more are passed over."""

_NOTHING: tuple[Any, ...] = (None, "", [])


class OpenAiDeltas:
    """See `Deltas`. The thinking trace has two names on this wire; here it has one, `reasoning_content`."""

    def __init__(self) -> None:
        self._calls: dict[int, list[Any]] = {}
        """Ids of the tool calls of each choice, in the order in which they came."""

    def read(self, event: dict[str, Any]) -> list[Choice]:
        """See `Deltas.read`."""
        choices = event.get("choices")
        return [
            read
            for choice in (choices if isinstance(choices, list) else ())
            if isinstance(choice, dict) and (read := self._read(choice)) is not None
        ]

    def _read(self, choice: dict[str, Any]) -> Choice | None:
        index, stated = choice.get("index", 0), choice.get("delta")
        if not isinstance(index, int) or not 0 <= index < MAX_PARTS or not isinstance(stated, dict):
            return None
        delta = {name: value for name, value in stated.items() if name != "role" and value not in _NOTHING}
        trace = delta.pop("reasoning", None)
        if isinstance(trace, str):
            delta.setdefault("reasoning_content", trace)
        if "tool_calls" in delta:
            delta["tool_calls"] = self._numbered(index, delta["tool_calls"])
        if not delta:
            return None
        read: Choice = {"index": index, "delta": delta, "finish_reason": None}
        if choice.get("logprobs") is not None:
            read["logprobs"] = choice["logprobs"]
        return read

    def _numbered(self, choice: int, calls: Any) -> list[dict[str, Any]]:
        """Calls with their index: some send them whole, each with an id, and no index."""
        ids = self._calls.setdefault(choice, [])
        numbered = []
        for call in calls if isinstance(calls, list) else ():
            if not isinstance(call, dict) or len(ids) >= MAX_PARTS:
                continue
            index, call_id = call.get("index"), call.get("id")
            if not isinstance(index, int) or not 0 <= index < MAX_PARTS:
                if call_id and call_id not in ids:
                    ids.append(call_id)
                index = ids.index(call_id) if call_id else max(0, len(ids) - 1)
            elif index >= len(ids):
                ids += [None] * (index - len(ids)) + [call_id]
            numbered.append({**call, "index": index})
        return numbered
