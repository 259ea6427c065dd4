"""Lines of a body that is read as it comes: numbered, and none longer than allowed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

GROUP = 200
"""Most lines given out together."""


class Line(NamedTuple):
    """One line, without its line feed.

    Attributes:
        number: From 1, blank lines counted.
        data: None = longer than allowed.
    """

    number: int
    data: bytes | None


async def read_lines(parts: AsyncIterator[bytes], *, max_bytes: int) -> AsyncIterator[list[Line]]:
    """The lines that each part completes, blank ones left out; at the end also a last one without a line feed.

    Holds no more than one part and one line at a time, and of a line that is too long nothing.

    Raises:
        Exception: As `parts`; a line that has begun is dropped then.
    """
    number, begun, is_long = 1, bytearray(), False
    async for part in parts:
        *complete, rest = part.split(b"\n")
        lines = []
        for piece in complete:
            begun += piece
            if is_long or len(begun) > max_bytes:
                lines.append(Line(number, None))
            elif begun and not begun.isspace():
                lines.append(Line(number, bytes(begun)))
            number, is_long = number + 1, False
            begun.clear()
        begun += rest
        if len(begun) > max_bytes:
            begun.clear()
            is_long = True
        for start in range(0, len(lines), GROUP):
            yield lines[start : start + GROUP]
    if is_long or (begun and not begun.isspace()):
        yield [Line(number, None if is_long else bytes(begun))]
