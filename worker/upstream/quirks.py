"""What single hosts want beyond their wire, as data: one row a host."""

from __future__ import annotations

from dataclasses import dataclass

import httpx


@dataclass(frozen=True, slots=True)
class Quirks:
    """The peculiarities of one host.

    Attributes:
        job_header: Header that must hold a stable id of the conversation; chatq sends the job's id.
        never_sent: Request fields the host refuses.
    """

    job_header: str | None = None
    never_sent: frozenset[str] = frozenset()


_SAMPLING = frozenset({"temperature", "top_p", "n", "frequency_penalty", "presence_penalty"})

_QUIRKS = {
    # Without it: 400 MissingSessionID on Go, and wise on Zen (docs/provider-wire.md §4).
    "opencode.ai": Quirks(job_header="x-opencode-session"),
    # Sampling is fixed there; another value is a 400 (docs/provider-wire.md §5, §6).
    "api.kimi.com": Quirks(never_sent=_SAMPLING),
    "api.kimi.ai": Quirks(never_sent=_SAMPLING),
}
_NONE = Quirks()


def quirks_of(base_url: str) -> Quirks:
    """The row of the host that `base_url` names; hosts without one want nothing."""
    return _QUIRKS.get(httpx.URL(base_url).host, _NONE)
