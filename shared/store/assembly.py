"""What a script takes of its libraries: the declarations that it uses, itself or through others.

Redis runs a script's whole text at each call, so a function that is only defined costs as much as a small command,
and every script keeps copies of its own.

The rule for libraries (`lua/lib/*.lua`): declarations stand at the left margin, and nothing else does:

    local function f(…) … end        local a, b = …        function t.f(…) … end
    local f, g                       with a block in the next line that defines them, and what only they need:
    do … end

None has an effect that a script would miss which does not name it: it is left out. A name is sought as a word: one
that is also some local variable's is kept in vain, but nothing needed is missing. There are no long brackets
(`[[…]]`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from shared.errors import StoreError

_STRING = r"'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\""
_STRING_OR_COMMENT = re.compile(rf"({_STRING})|--[^\n]*")
_EMPTY_LINE = re.compile(r"^[^\S\n]*\n", re.MULTILINE)
_START = re.compile(r"^(?=[^\s})])(?!end\b)", re.MULTILINE)
_DECLARATION = re.compile(r"(?:local function |function )(\w+)|local ([\w, ]*\w)")
_BARE = re.compile(r"local [\w, ]+\n\Z")
_NO_NAME = re.compile(rf"{_STRING}|(?<!\.)\.\w+")
_WORD = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One declaration of a library.

    Attributes:
        names: What it declares.
        text: Without comments.
        uses: All words in it that may name a variable.
    """

    names: frozenset[str]
    text: str
    uses: frozenset[str]


def parts_of(library: str) -> list[Part]:
    """A library's declarations, in order.

    Raises:
        StoreError: Something else stands at the top level.
    """
    text = without_comments(library)
    starts = [match.start() for match in _START.finditer(text)]
    declarations: list[tuple[str, str]] = []
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        part = text[start:end]
        declared = _DECLARATION.match(part)
        if declared:
            declarations.append((declared[1] or declared[2], part))
        elif part.startswith("do\n") and declarations and _BARE.match(declarations[-1][1]):
            names, head = declarations.pop()
            declarations.append((names, head + part))
        else:
            raise StoreError(
                f"a Lua library has more than declarations at its top level: {part.splitlines()[0]}"
            )
    return [
        Part(frozenset(_WORD.findall(names)), part, frozenset(names_in(part))) for names, part in declarations
    ]


def needed(parts: Sequence[Part], script: str) -> list[Part]:
    """Those that a script uses, itself or through others."""
    named = names_in(script)
    kept: list[Part] = []
    left = list(parts)
    while found := [part for part in left if not named.isdisjoint(part.names)]:
        kept += found
        left = [part for part in left if part not in found]
        named.update(*(part.uses for part in found))
    return sorted(kept, key=parts.index)


def without_comments(text: str) -> str:
    """Lua without its comments, and without the lines that are empty then."""
    return _EMPTY_LINE.sub("", _STRING_OR_COMMENT.sub(lambda match: match[1] or "", text))


def names_in(text: str) -> set[str]:
    """All words that may name a variable: not those of comments and strings, nor fields (`t.field`)."""
    return set(_WORD.findall(_NO_NAME.sub(" ", without_comments(text))))
