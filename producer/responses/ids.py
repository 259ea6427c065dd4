"""Ids of responses and of the items in them: they follow from what they belong to, so every look shows the same."""

from __future__ import annotations

import hashlib

PREFIX = "resp_"
"""How a response's id begins; the rest is the id of its job."""


def response_id(job_id: str) -> str:
    """The response of a job."""
    return PREFIX + job_id


def job_id_of(response_id: str) -> str:
    """The job of a response; of a word that is no response's id, no job's."""
    return response_id.removeprefix(PREFIX)


def item_id(prefix: str, response_id: str, name: str = "") -> str:
    """The id of one item.

    Args:
        prefix: `msg`, `fc`, `rs` …
        name: What tells it from the response's other items with this prefix.
    """
    digest = hashlib.blake2b(f"{response_id}\0{name}".encode(errors="replace"), digest_size=16).hexdigest()
    return f"{prefix}_{digest}"
