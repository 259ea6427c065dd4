"""Physical lines: ends, marks, limits, damage."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.batch import lines
from producer.batch.lines import Problem, RawLine, count_lines, open_input, read_lines
from shared.errors import BatchRefused


def split(data: bytes, *, max_bytes: int = 1000) -> list[bytes]:
    return [line.data for line in read_lines(io.BytesIO(data), max_bytes=max_bytes)]


@given(st.lists(st.binary(max_size=40).filter(lambda line: b"\n" not in line), max_size=20))
def test_lines_are_those_of_the_file(texts: list[bytes]) -> None:
    """What was joined by line feeds comes apart at them, numbered from 1."""
    found = list(read_lines(io.BytesIO(b"".join(text + b"\n" for text in texts)), max_bytes=40))
    assert [line.data for line in found] == [
        text.removeprefix(b"\xef\xbb\xbf") if number == 0 else text for number, text in enumerate(texts)
    ]
    assert [line.number for line in found] == list(range(1, len(texts) + 1))


def test_last_line_needs_no_end() -> None:
    """A file may end without a line feed."""
    assert split(b"a\nb") == [b"a", b"b"]


def test_byte_order_mark_is_dropped_once() -> None:
    """Only the mark at the very beginning is no content."""
    assert split(b"\xef\xbb\xbf{}\n\xef\xbb\xbf{}\n") == [b"{}", b"\xef\xbb\xbf{}"]


def test_lines_may_span_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line is the same however the reads fall."""
    monkeypatch.setattr(lines, "CHUNK_BYTES", 3)
    assert split(b"abcdefgh\nij\n\nklmno") == [b"abcdefgh", b"ij", b"", b"klmno"]


@pytest.mark.parametrize("chunk_bytes", [2, 1000])
def test_overlong_line_is_named_not_kept(chunk_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its neighbours are whole, whatever the chunks."""
    monkeypatch.setattr(lines, "CHUNK_BYTES", chunk_bytes)
    found = list(read_lines(io.BytesIO(b"ok\n" + b"x" * 50 + b"\nok\n" + b"y" * 11), max_bytes=10))
    long = Problem.TOO_LONG
    assert found == [RawLine(1, b"ok"), RawLine(2, b"", long), RawLine(3, b"ok"), RawLine(4, b"", long)]


class CountingSource:
    """One endless line; remembers how much was asked for at a time."""

    def __init__(self, size: int) -> None:
        self.left = size

    def read(self, size: int, /) -> bytes:
        given = min(size, self.left)
        self.left -= given
        return b"x" * given


def test_overlong_line_is_not_read_into_memory() -> None:
    """A gigabyte without a line feed passes through a buffer of one chunk."""
    source = CountingSource(200_000_000)
    (line,) = read_lines(source, max_bytes=1_000_000)
    assert (line.problem, source.left) == (Problem.TOO_LONG, 0)


def test_gzip_is_read_by_suffix(tmp_path: Path) -> None:
    """`.gz` is decompressed, and counted decompressed."""
    path = tmp_path / "in.jsonl.gz"
    path.write_bytes(gzip.compress(b"{}\n{}"))
    with open_input(path) as source:
        assert [line.data for line in read_lines(source, max_bytes=10)] == [b"{}", b"{}"]
    assert count_lines(path) == 2


@pytest.mark.parametrize("damage", [lambda raw: raw[:-20], lambda raw: raw[:40] + b"\0" * 40 + raw[80:]])
def test_damaged_gzip_ends_in_one_bad_line(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """What can be read is read; then the damage is told, once."""
    path = tmp_path / "in.jsonl.gz"
    path.write_bytes(damage(gzip.compress("".join(f'{{"n":{n}}}\n' for n in range(1000)).encode())))
    with open_input(path) as source:
        *_, last = read_lines(source, max_bytes=100)
    assert last.problem is Problem.UNREADABLE
    assert count_lines(path) <= last.number


def test_missing_input_is_refused(tmp_path: Path) -> None:
    """With the name and the reason."""
    with pytest.raises(BatchRefused, match=r"cannot read .*nothing\.jsonl: No such file"):
        open_input(tmp_path / "nothing.jsonl")


@pytest.mark.parametrize(("data", "count"), [(b"", 0), (b"a", 1), (b"a\n", 1), (b"a\n\nb", 3)])
def test_count_is_of_physical_lines(data: bytes, count: int, tmp_path: Path) -> None:
    """Blank lines count; the last one needs no end."""
    path = tmp_path / "in.jsonl"
    path.write_bytes(data)
    assert count_lines(path) == count
