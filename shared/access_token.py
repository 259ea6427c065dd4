"""An access token: who may call the HTTP API with it, and for what.

The token itself is told once, to the person who made it. Kept is its SHA-256, which is enough to know it again:
it is random through and through, so nobody finds it by trying, and a slow hash would protect nothing.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import re
import secrets
import time
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from shared.job import Lane
from shared.settings.clients import ClientId

PREFIX = "cq_"
"""What every token begins with, so that people and scanners of secrets recognise one."""

ID_LENGTH = len(PREFIX) + 8
"""How much of a token is its public id; what stays secret are 208 bits."""

_TOKEN = re.compile(r"cq_[A-Za-z0-9_-]{43}")
_ID = r"^cq_[A-Za-z0-9_-]{8}$"


class Role(enum.StrEnum):
    """What a token allows; each includes the ones before it."""

    READ = "read"
    """See what is there."""
    SUBMIT = "submit"
    """Make, change and delete."""
    ADMIN = "admin"
    """See and change what belongs to others, too."""

    def includes(self, other: Role) -> bool:
        """Whether this role may do what `other` may."""
        return _RANKS[self] >= _RANKS[other]


_RANKS = {role: rank for rank, role in enumerate(Role)}

ModelPattern = Annotated[str, Field(min_length=1, max_length=256)]


class AccessToken(BaseModel):
    """What is kept of one token."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    id: str = Field(pattern=_ID)
    """The beginning of the token: public, for listing and revoking."""

    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of the whole token, hex."""

    client: ClientId
    """Whose jobs, files and batches are made and seen with it."""

    role: Role

    lanes: tuple[Lane, ...] | None = None
    """Lanes that may be used; None = all."""

    models: tuple[ModelPattern, ...] | None = None
    """Patterns (`openai/*`) of names that may be asked for, as requests write them; None = all."""

    budget_usd: float | None = Field(default=None, ge=0, le=1e9)
    """What its client may have spent in a day (UTC) when it submits, US dollars; None = no limit of its own."""

    created_at: float = Field(ge=0, le=1e11)
    """Unix seconds."""

    expires_at: float | None = Field(default=None, ge=0, le=1e11)
    """Unix seconds; None = it holds until it is revoked."""

    note: str = Field(default="", max_length=200)
    """What it is for, for people."""

    def is_expired(self, *, at: float | None = None) -> bool:
        """Whether its time is over at a moment, in Unix seconds; None = now."""
        return self.expires_at is not None and (time.time() if at is None else at) >= self.expires_at

    def is_made_of(self, token: str) -> bool:
        """Whether this is what was kept of a token, compared in constant time."""
        return hmac.compare_digest(self.digest, digest_of(token))


def new_token() -> str:
    """A token: 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def looks_like_token(text: str) -> bool:
    """Whether a text has the form of a token; only then it is worth looking up."""
    return _TOKEN.fullmatch(text) is not None


def id_of(token: str) -> str:
    """The public part of a token."""
    return token[:ID_LENGTH]


def digest_of(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
