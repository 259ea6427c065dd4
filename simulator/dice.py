"""Seeded randomness that does not depend on the order in which calls arrive.

Every draw is a hash of the seed, the request digest and a label. So the third call of a request meets the same
fault and the same latency in every run, however many other calls run beside it.
"""

from __future__ import annotations

import hashlib
import struct

_SCALE = 2.0**-64
_PAIR = struct.Struct("<QQ")


class Dice:
    """A source of uniform draws for one seed."""

    def __init__(self, seed: int) -> None:
        self._key = seed.to_bytes(8, "little")

    def roll(self, digest: str, label: str | int) -> tuple[float, float]:
        """Two independent draws from [0, 1) for this request and label.

        Args:
            digest: The request's digest.
            label: What is drawn: a word, or the number of earlier calls of this request.
        """
        text = f"{digest}:{label}".encode()
        low, high = _PAIR.unpack(hashlib.blake2b(text, digest_size=16, key=self._key).digest())
        # 64 random bits round up to exactly 1.0 now and then; a probability of 1 must still catch them.
        return min(low * _SCALE, _BELOW_ONE), min(high * _SCALE, _BELOW_ONE)


_BELOW_ONE = 1 - 2.0**-53
