"""A principal: who calls, and what that one may do."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase

from producer.api.errors import forbidden
from shared.access_token import Role
from shared.job import Lane

__all__ = ["Principal", "Role"]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls.

    Attributes:
        client: Whose jobs, files and batches these are.
        lanes: Lanes that may be used; None = all.
        models: Patterns (`openai/*`) of the names that may be asked for, as requests write them; None = all.
        budget_usd: What the client may spend a day; None = no limit of its own.
        token_id: Of which token, for the log; None = the static one, or none was asked for.
    """

    client: str
    role: Role
    lanes: Collection[Lane] | None = None
    models: tuple[str, ...] | None = None
    budget_usd: float | None = None
    token_id: str | None = None

    def owns(self, client: str | None) -> bool:
        """Whether something of this client's may be seen; an administrator sees everything."""
        return self.role is Role.ADMIN or client == self.client

    def check_lane(self, lane: Lane) -> None:
        """See that a lane may be used.

        Raises:
            ApiError: 403.
        """
        if self.lanes is not None and lane not in self.lanes:
            allowed = ", ".join(sorted(self.lanes))
            text = f"this token may not use lane {lane}; allowed: {allowed}"
            raise forbidden(text, code="lane_not_allowed")

    def check_model(self, name: str) -> None:
        """See that a model may be asked for.

        Raises:
            ApiError: 403.
        """
        if self.models is not None and not any(fnmatchcase(name, pattern) for pattern in self.models):
            raise forbidden(f"this token may not use model {name!r}", code="model_not_allowed", param="model")
