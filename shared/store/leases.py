"""Renewing leases: synchronous, for the heartbeat's thread, on a connection of its own."""

from __future__ import annotations

from collections.abc import Sequence

import redis

from shared.store.pipe import Arg
from shared.store.scripts import run_once

CHUNK = 500
"""Leases a script call: keeps one call under a millisecond of Redis."""


class LeaseRenewer:
    """Renews the leases of grants a worker holds."""

    def __init__(self, client: redis.Redis, *, with_flags: bool, lease_s: float) -> None:
        self._client = client
        self._with_flags = with_flags
        self._lease_ms = int(lease_s * 1000)

    def renew(self, members: Sequence[str]) -> list[tuple[str, str]]:
        """Renew grants by name (`<job id>:<token>`).

        Returns:
            Those no longer held, with their job's RQ status (empty: the job is gone).

        Raises:
            StoreError: Redis did not take it; the rest is not renewed.
        """
        lost: list[tuple[str, str]] = []
        for start in range(0, len(members), CHUNK):
            args: list[Arg] = [self._lease_ms, *members[start : start + CHUNK]]
            reply = run_once(self._client, "extend_leases", args, with_flags=self._with_flags)
            words = [word.decode(errors="replace") for word in reply]
            lost += zip(words[::2], words[1::2], strict=True)
        return lost
