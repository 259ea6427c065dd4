"""Settings before validation: plain tables, and which source each value came from."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KeyPath = tuple[str, ...]


def shown_key(path: KeyPath) -> str:
    """Write a key as it stands in the file: parts joined by dots, and quoted where TOML asks for it.

    One line of ASCII, whatever somebody has put into the quotes.
    """
    bare = re.compile(r"[A-Za-z0-9_-]+")
    shown = ""
    for part in path:
        if is_place(part):
            shown += part
        else:
            shown += ("." if shown else "") + (part if bare.fullmatch(part) else json.dumps(part))
    return shown


def place(index: int) -> str:
    """The part of a key's path that means an entry of a list, counted from 0: `[0]`."""
    return f"[{index}]"


def is_place(part: str) -> bool:
    """Whether a part of a path means an entry of a list."""
    return re.fullmatch(r"\[[0-9]+\]", part) is not None


@dataclass(frozen=True, slots=True)
class RawSettings:
    """What was read so far; later sources are laid over `tree`."""

    tree: dict[str, Any] = field(default_factory=dict)
    source: Path | None = None
    warnings: tuple[str, ...] = ()
    origins: dict[KeyPath, str] = field(default_factory=dict)
    """Where a value came from, when it is not the same key of the file: a variable, or another key."""

    def label(self, path: KeyPath) -> str:
        """Name the place an operator has to edit for the value, or the section, at `path`."""
        if path in self.origins:
            return self.origins[path]
        key = f"[{path[0]}]" if len(path) == 1 else shown_key(path)
        for end in range(len(path) - 1, 0, -1):
            if path[:end] in self.origins:  # a whole table was set by one variable
                return f"{self.origins[path[:end]]}: {key}"
        places = [str(self.source)] if self.source else []
        # A rule over a whole section may be broken by the file and a variable together.
        places += [label for key, label in self.origins.items() if key[: len(path)] == path]
        return f"{', '.join(places)}: {key}" if places else key
