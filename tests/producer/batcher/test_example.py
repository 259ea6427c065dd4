"""`examples/batch.jsonl`, which the README sends."""

from __future__ import annotations

from producer.batch.lines import open_input, read_lines
from producer.batch.reader import Line
from producer.batcher.lines import CHAT, read_line
from tests.support import ROOT


def test_example_has_lines_as_openai_wants_them() -> None:
    with open_input(ROOT / "examples" / "batch.jsonl") as source:
        lines = [read_line(raw, CHAT) for raw in read_lines(source, max_bytes=100_000)]
    assert [line for line in lines if not isinstance(line, Line) or not line.body.get("model")] == []
    assert len({line.custom_id for line in lines}) == len(lines) == 60
