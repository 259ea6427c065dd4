"""Tokens for tests of the API."""

from __future__ import annotations

import time
from typing import Any

from shared.access_token import AccessToken, Role, digest_of, id_of, new_token
from shared.store.connect import Store
from shared.store.tokens import TokenStore


async def add_token(store: Store, *, client: str = "alice", role: Role = Role.SUBMIT, **fields: Any) -> str:
    """Make a token; the server asks for one from now on, at the latest a second from now."""
    token = new_token()
    record = AccessToken(
        id=id_of(token), digest=digest_of(token), client=client, role=role, created_at=time.time(), **fields
    )
    await TokenStore(store).add(record)
    return token


def bearer(token: str) -> dict[str, str]:
    """The header that carries a token."""
    return {"Authorization": f"Bearer {token}"}
