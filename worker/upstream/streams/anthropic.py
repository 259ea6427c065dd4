"""Anthropic's named events into one message (docs/provider-wire.md §13)."""

from __future__ import annotations

from typing import Any

import orjson

from worker.upstream.answers import malformed
from worker.upstream.streams.assembler import Text

_PIECES = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("signature", "signature"),
    "input_json_delta": ("partial_json", "input"),
}
"""By a delta's type: its field, and the field of the block that it makes longer."""

MAX_BLOCKS = 10_000


class AnthropicAssembler:
    """See `Assembler`. Complete with `message_stop`; pings are life signs and nothing more."""

    def __init__(self) -> None:
        self.is_complete = False
        self.size = 0
        self._message: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._is_output_counted = False
        self._blocks: dict[int, _Block] = {}

    def add(self, event: dict[str, Any]) -> None:
        """See `Assembler.add`."""
        match event.get("type"):
            case "message_start":
                self._start(event.get("message"))
            case "content_block_start":
                self._start_block(event.get("index"), event.get("content_block"))
            case "content_block_delta":
                self._add_piece(event.get("index"), event.get("delta"))
            case "message_delta":
                delta = event.get("delta")
                if isinstance(delta, dict):
                    self._message.update(delta)
                self._count(event.get("usage"))
                self._is_output_counted = True
            case "message_stop":
                self.is_complete = True

    def _start(self, message: Any) -> None:
        if isinstance(message, dict):
            self._message.update(message)
            self._count(message.get("usage"))

    def _count(self, usage: Any) -> None:
        """Counts are cumulative: input comes first, output last; the later one of a name counts."""
        if isinstance(usage, dict):
            self._usage.update((name, value) for name, value in usage.items() if value is not None)

    def _start_block(self, index: Any, block: Any) -> None:
        if isinstance(index, int) and isinstance(block, dict) and len(self._blocks) < MAX_BLOCKS:
            self._blocks[index] = _Block(block)
            self.size += 200

    def _add_piece(self, index: Any, delta: Any) -> None:
        block = self._blocks.get(index) if isinstance(index, int) else None
        if block is not None:
            self.size += block.add(delta)

    def end(self) -> None:
        """See `Assembler.end`; Anthropic has no such mark."""

    def answer(self) -> dict[str, Any] | None:
        """See `Assembler.answer`.

        Raises:
            UpstreamUnavailable: The input of a tool call is no JSON.
        """
        if not self.is_complete:
            return None
        content = [block.whole() for _, block in sorted(self._blocks.items())]
        return {**self._message, "content": content, "usage": self._usage}

    def counted(self) -> dict[str, Any]:
        """See `Assembler.counted`; the output that `message_start` states is its first token, not what came."""
        usage = dict(self._usage)
        if not self._is_output_counted:
            usage.pop("output_tokens", None)
        return {"usage": usage}


class _Block:
    """One content block."""

    def __init__(self, start: dict[str, Any]) -> None:
        self._start = start
        self._texts: dict[str, Text] = {}
        self._citations: list[Any] = []

    def add(self, delta: Any) -> int:
        if not isinstance(delta, dict):
            return 0
        kind = delta.get("type")
        if kind == "citations_delta":
            self._citations.append(delta.get("citation"))
            return 200
        source, target = _PIECES.get(kind if isinstance(kind, str) else "", ("", ""))
        return self._texts.setdefault(target, Text()).add(delta.get(source)) if target else 0

    def whole(self) -> dict[str, Any]:
        block = dict(self._start)
        for name, text in self._texts.items():
            if name == "input":
                block["input"] = _decoded(str(text))
            else:
                start = self._start.get(name)
                block[name] = (start if isinstance(start, str) else "") + str(text)
        if self._citations:
            block["citations"] = self._citations
        return block


def _decoded(text: str) -> Any:
    try:
        return orjson.loads(text) if text else {}
    except orjson.JSONDecodeError:
        raise malformed("the input of a tool call is not JSON", code="truncated") from None
