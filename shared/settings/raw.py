"""Settings before validation: plain tables, and which source each value came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KeyPath = tuple[str, ...]


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
        places = [str(self.source)] if self.source else []
        # A rule over a whole section may be broken by the file and a variable together.
        places += [label for key, label in self.origins.items() if key[: len(path)] == path]
        key = f"[{path[0]}]" if len(path) == 1 else ".".join(path)
        return f"{', '.join(places)}: {key}" if places else key
