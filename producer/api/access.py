"""Access: who calls, by token and by address."""

from __future__ import annotations

import hmac

from starlette.requests import Request

from producer.api.errors import ApiError
from producer.api.principal import Principal, Role
from producer.api.services import Services


class Access:
    """Admits callers."""

    def __init__(self, services: Services) -> None:
        self._token = services.settings.auth.token.get_secret_value().encode()

    async def admit(self, request: Request, role: Role | None) -> Principal:
        """The caller, if that one may do what `role` does; None = everybody may.

        Raises:
            ApiError: 401, 403.
        """
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if role is None or not self._token:
            return Principal("default", Role.ADMIN)
        if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._token):
            return Principal("default", Role.ADMIN)
        raise ApiError(401, "a valid token is needed: Authorization: Bearer …", code="invalid_api_key")
