"""Bodies that exhaust a careless reader: small on the wire, or valid, and far too much once read."""

from __future__ import annotations

import functools
import zlib

from simulator.framing import Content

NESTED_LEVELS = 100_000
"""Far above where JSON parsers stop: Python's at its recursion limit, orjson at 1,024."""
_GZIP_WBITS = 31
"""zlib's number for a gzip header around the largest window."""
_BLOCK = b"x" * 1024 * 1024


def nest(content: Content) -> Content:
    """The content with its JSON, in a stream that of the first event, inside 100,000 arrays."""
    first, *others = content.pieces
    start, end = first.index(b"{"), first.rindex(b"}") + 1
    deep = b"%b%b%b" % (b"[" * NESTED_LEVELS, first[start:end], b"]" * NESTED_LEVELS)
    return Content(content.content_type, [first[:start] + deep + first[end:], *others], content.is_stream)


@functools.lru_cache(maxsize=2)
def gzip_bomb(size_bytes: int) -> bytes:
    """A gzip file of about a thousandth of this size, which unpacks to a JSON string of at least this size.

    Takes about 2 s for each GB; the result is kept.
    """
    packer = zlib.compressobj(wbits=_GZIP_WBITS)
    blocks = -(-size_bytes // len(_BLOCK))
    return b"".join(
        [
            packer.compress(b'"'),
            *(packer.compress(_BLOCK) for _ in range(blocks)),
            packer.compress(b'"'),
            packer.flush(),
        ]
    )
