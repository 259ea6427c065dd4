"""Hosts: how many calls go to one receiver at the same time, and when the others come back."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_GUESS_S = 0.1
"""How long a call to a host is taken to last before one has ended: too little costs looks, too much delays ends."""


@dataclass(slots=True)
class _Host:
    calls: int = 0
    usual_s: float = FIRST_GUESS_S
    next_at: float = 0.0
    """When the last of those that were sent away comes back."""


class Hosts:
    """Keeps one slow receiver from taking all the places of a process.

    Who finds a host full is told to come back after those before it, as far as the host's usual time tells: so even
    a hundred thousand ends for one host are looked at about as often as it answers.

    Args:
        most: Calls to one host at the same time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._hosts: dict[str, _Host] = {}

    def enter(self, host: str, *, now: float) -> float | None:
        """Begin a call; returns None, or in how many seconds to ask again."""
        known = self._hosts.setdefault(host, _Host())
        if known.calls < self._most:
            known.calls += 1
            return None
        known.next_at = max(now, known.next_at) + known.usual_s / self._most
        return known.next_at - now

    def leave(self, host: str, *, took_s: float) -> None:
        """End a call that `enter` let begin."""
        known = self._hosts[host]
        known.calls -= 1
        known.usual_s = 0.5 * known.usual_s + 0.5 * took_s
        if not known.calls:
            del self._hosts[host]
