"""Groups for operators: which there are, making and changing those of the run time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from shared.errors import InvalidRequest
from shared.group_follower import GroupFollower
from shared.routing import Group, Router
from shared.settings import GroupSettings
from shared.store.groups import GroupStore


class Groups:
    """The model groups of a producer's router. Changes reach all producers and workers within two seconds."""

    def __init__(self, store: GroupStore, follower: GroupFollower, router: Router) -> None:
        self._store = store
        self._follower = follower
        self._router = router

    async def list(self) -> list[Group]:
        """All groups, usable or not: built-in ones, the file's, and those made at run time.

        Raises:
            StoreUnavailable: No answer from Redis.
        """
        await self._follower.catch_up()
        return [*self._router.groups]

    async def get(self, group_id: str) -> Group:
        """One group.

        Raises:
            InvalidRequest: There is none of this name.
            StoreUnavailable: No answer from Redis.
        """
        await self._follower.catch_up()
        group = self._router.groups.get(group_id)
        if group is None:
            known = ", ".join(sorted(group.id for group in self._router.groups))
            raise InvalidRequest(f"there is no group {group_id!r}; there are {known}", field="id")
        return group

    async def set(self, group_id: str, definition: Any) -> Group:
        """Create a group, or replace one made at run time; one that stands over a built-in group hides it.

        Args:
            group_id: The name it has as a model.
            definition: As in the settings file (`GroupSettings`), from JSON.

        Raises:
            InvalidRequest: A field is wrong, or the group does not fit the others (circle, depth); nothing changed.
            StoreUnavailable: No answer from Redis; set it again.
        """
        try:
            group = GroupSettings.model_validate(definition)
        except ValidationError as exc:
            raise InvalidRequest("; ".join(_complaints(exc)), field="group") from None
        await self._follower.catch_up()
        self._router.groups.with_group(group_id, group)
        await self._store.set(group_id, group)
        return await self.get(group_id)

    async def delete(self, group_id: str) -> None:
        """Delete a group made at run time; a built-in one that it hid is back.

        Raises:
            InvalidRequest: It is none of the run time.
            StoreUnavailable: No answer from Redis; delete it again.
        """
        await self._follower.catch_up()
        self._router.groups.without(group_id)
        await self._store.delete(group_id)
        await self._follower.catch_up()


def _complaints(exc: ValidationError) -> Iterator[str]:
    """What is wrong with a definition, each with its field."""
    for error in exc.errors(include_url=False, include_input=False, include_context=False):
        path = ".".join(map(str, error["loc"]))
        text = error["msg"].removeprefix("Value error, ")
        yield f"{path}: {text}" if path else text
