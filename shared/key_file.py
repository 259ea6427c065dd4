"""Key files: `KEY=value` lines as a shell reads them, so that one file serves systemd, shells and chatq."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

MAX_BYTES = 64 * 1024
"""A file longer than this is no key file."""

_LINE = re.compile(
    r"""
    \s* (?:export\s+)? (?P<name>[A-Za-z_][A-Za-z0-9_]*) =
    (?: '(?P<single>[^']*)' | "(?P<double>(?:[^"\\]|\\.)*)" | (?P<bare>[^\s'"\#][^\s'"]*)? )
    \s* (?:(?<=\s)\#.*)?
    """,
    re.VERBOSE,
)


class KeyFileError(ValueError):
    """The file cannot be used; the message says why and never quotes the file."""


def read_key(path: Path, name: str) -> str:
    """Read one key.

    Args:
        path: The file.
        name: The wanted name. A file with a single assignment is taken whatever its name.

    Returns:
        The value, never empty.

    Raises:
        FileNotFoundError: There is no such file.
        KeyFileError: The file cannot be read, a line is not `KEY=value`, or the key is not in it.
    """
    values = _parse(_text(path))
    if name in values:
        value = values[name]
    elif len(values) == 1:
        (value,) = values.values()
    else:
        raise KeyFileError(
            f"has {len(values)} keys, none called {name}" if name else f"has {len(values)} keys"
        )
    if not value:
        raise KeyFileError("holds an empty key")
    return value


def is_readable_by_others(path: Path) -> bool:
    """Whether group or others may read the file. Windows has no such bits and makes some up: never there."""
    return os.name == "posix" and bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))


def _text(path: Path) -> str:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe would hang the start
            raise KeyFileError("is not a regular file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as exc:
        raise KeyFileError(f"cannot be read: {exc.strerror}") from exc
    if len(data) > MAX_BYTES:
        raise KeyFileError(f"is over {MAX_BYTES} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise KeyFileError("is not UTF-8 text") from None


def _parse(text: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise KeyFileError(f"line {number} is not KEY=value")
        double = match["double"]
        unescaped = re.sub(r"\\(.)", r"\1", double) if double else ""
        # As in a shell, the last assignment of a name counts.
        values[match["name"]] = match["single"] or unescaped or match["bare"] or ""
    return values
