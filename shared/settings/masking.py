"""What of a setting may be shown: addresses without credentials, headers without keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

MASK = "**********"

_SECRET_NAME = re.compile(r"auth|key|token|secret|cookie|password|credential", re.IGNORECASE)


def shown_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Copy headers with the value masked wherever the name speaks of a credential."""
    return {name: MASK if _SECRET_NAME.search(name) else value for name, value in headers.items()}


def shown_url(url: str) -> str:
    """Strip an address of user, password and query, which may carry a password too.

    Works on addresses with several hosts (Sentinel), which have no single port.
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"
