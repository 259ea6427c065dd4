"""Physical lines of an input file: numbered, and never held longer than a limit."""

from __future__ import annotations

import enum
import gzip
import sys
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from shared.errors import BatchRefused

STDIN = Path("-")
"""The name that stands for standard input."""

CHUNK_BYTES = 256 * 1024

_BOM = b"\xef\xbb\xbf"
_BROKEN = (OSError, EOFError, zlib.error)  # a disk, a cut gzip, a damaged gzip


class Source(Protocol):
    """What lines are read from."""

    def read(self, size: int, /) -> bytes | None:
        """The next bytes, at most `size`; none at the end."""


@dataclass(frozen=True, slots=True)
class RawLine:
    """One line as it stands in the file, without its end."""

    number: int
    """1-based; blank lines count."""
    data: bytes
    """Empty when there is a problem."""
    problem: Problem | None = None


class Problem(enum.Enum):
    """Why a line cannot be handed over."""

    TOO_LONG = "request_too_large"
    UNREADABLE = "input_unreadable"
    """The source broke off here: a cut or damaged gzip, a failing disk. There are no lines after it."""


class _Gzip(gzip.GzipFile):
    """Hands over what it has at once: a full read would lose a chunk of good lines in front of the damage."""

    def read(self, size: int | None = -1) -> bytes:
        return self.read1(-1 if size is None else size)


def open_input(path: Path) -> BinaryIO:
    """Open an input for `read_lines`; `-` is standard input, `.gz` is decompressed.

    Raises:
        BatchRefused: It cannot be opened.
    """
    if path == STDIN:
        # Unbuffered: the interpreter cannot end while another thread waits inside a buffered standard input.
        return cast(BinaryIO, FileIO(sys.stdin.fileno(), closefd=False))
    try:
        if path.suffix == ".gz":
            return cast(BinaryIO, _Gzip(path, "rb"))
        return path.open("rb")
    except OSError as exc:
        raise BatchRefused(f"cannot read {path}: {exc.strerror}") from None


def read_lines(source: Source, *, max_bytes: int) -> Iterator[RawLine]:
    """Split a source at line feeds; a byte order mark is dropped, the last line needs no line feed."""
    number, held, is_too_long = 1, b"", False
    try:
        while chunk := source.read(CHUNK_BYTES):
            *ends, rest = chunk.split(b"\n")
            for end in ends:
                yield _raw_line(number, held + end, is_too_long or len(held) + len(end) > max_bytes)
                number, held, is_too_long = number + 1, b"", False
            is_too_long = is_too_long or len(held) + len(rest) > max_bytes
            held = b"" if is_too_long else held + rest
    except _BROKEN:
        yield RawLine(number, b"", Problem.UNREADABLE)
        return
    if held or is_too_long:
        yield _raw_line(number, held, is_too_long)


def count_lines(path: Path) -> int:
    """Count the lines of a file, as far as it can be read, without looking into them."""
    count, last = 0, b"\n"
    with open_input(path) as source, suppress(*_BROKEN):
        while chunk := source.read(CHUNK_BYTES):
            count += chunk.count(b"\n")
            last = chunk[-1:]
    return count + (last != b"\n")


def _raw_line(number: int, data: bytes, is_too_long: bool) -> RawLine:
    if is_too_long:
        return RawLine(number, b"", Problem.TOO_LONG)
    return RawLine(number, data.removeprefix(_BOM) if number == 1 else data)
