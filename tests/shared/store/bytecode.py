"""The global variables of a Lua script, from its bytecode (Lua 5.1, as in Redis): exact, and without running it."""

from __future__ import annotations

import struct
from typing import Any

from lupa import lua51

OPCODES = {5: "GETGLOBAL", 7: "SETGLOBAL"}
HEADER_BYTES = 12
CONSTANT_BYTES = {0: 0, 1: 1, 3: 8}
"""By type: nil, boolean, number."""
STRING = 4


def global_names(text: str) -> set[str]:
    """All names that are read or set as global variables.

    Raises:
        lua51.LuaSyntaxError: It does not compile.
    """
    runtime = lua51.LuaRuntime(encoding=None)
    dump: Any = runtime.eval(b"function(text) return string.dump(assert(loadstring(text))) end")
    reader = _Reader(dump(text.encode()))
    reader.function()
    return reader.names


class _Reader:
    def __init__(self, dumped: bytes) -> None:
        self._bytes, self._at = dumped, HEADER_BYTES
        self.names: set[str] = set()

    def function(self) -> None:
        self._string()
        self._take("<ii4B")
        code = [self._take("<I") for _ in range(self._take("<i"))]
        constants = [self._constant() for _ in range(self._take("<i"))]
        self.names |= {constants[word >> 14] for word in code if word & 63 in OPCODES}
        for _ in range(self._take("<i")):
            self.function()
        for _ in range(self._take("<i")):  # lines
            self._take("<i")
        for _ in range(self._take("<i")):  # local variables
            self._string()
            self._take("<ii")
        for _ in range(self._take("<i")):  # upvalues
            self._string()

    def _constant(self) -> str:
        kind = self._take("<B")
        if kind == STRING:
            return self._string()
        self._at += CONSTANT_BYTES[kind]
        return ""

    def _string(self) -> str:
        size = self._take("<Q")
        self._at += size
        return self._bytes[self._at - size : self._at].rstrip(b"\0").decode()

    def _take(self, layout: str) -> Any:
        values = struct.unpack_from(layout, self._bytes, self._at)
        self._at += struct.calcsize(layout)
        return values[0]
