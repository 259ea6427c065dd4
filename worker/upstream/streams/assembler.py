"""An assembler: the events of one stream in, the JSON object of the whole answer out."""

from __future__ import annotations

from typing import Any, Protocol


class Assembler(Protocol):
    """Puts one streamed answer together. What is foreign and not understood is left out, never trusted.

    Attributes:
        is_complete: The provider's own end mark was seen; whatever else comes is not needed.
        size: Characters kept so far, roughly.
    """

    is_complete: bool
    size: int

    def add(self, event: dict[str, Any]) -> None:
        """Take the next event."""
        ...

    def end(self) -> None:
        """Take the `[DONE]` with which some APIs end their streams."""
        ...

    def answer(self) -> dict[str, Any] | None:
        """The object that the same API sends without streaming; None when the end is missing."""
        ...

    def counted(self) -> dict[str, Any]:
        """What was counted so far, where the whole answer would have it; for answers that never become whole."""
        ...


class Text:
    """A text that comes in pieces; anything but text is passed over."""

    __slots__ = ("_pieces", "size")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self.size = 0

    def add(self, piece: Any) -> int:
        """Append a piece; returns how many characters that added."""
        if not isinstance(piece, str) or not piece:
            return 0
        self._pieces.append(piece)
        if len(self._pieces) >= 1024:  # short pieces cost more than their text
            self._pieces = ["".join(self._pieces)]
        self.size += len(piece)
        return len(piece)

    def __str__(self) -> str:
        return "".join(self._pieces)
