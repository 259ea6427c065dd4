"""Groups ready for use, and the book of all there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from shared.errors import InvalidRequest
from shared.routing.rules import Rules
from shared.settings import GroupId, GroupSettings, Settings, find_faults, seed_groups

Origin = Literal["seed", "file", "run time"]
"""Where a group comes from. Those of the file are read-only."""

_GROUP_ID = TypeAdapter[str](GroupId)


@dataclass(frozen=True)
class Group:
    """One group with its rules compiled."""

    id: str
    settings: GroupSettings
    origin: Origin
    rules: Rules
    fault: str | None
    """Why it cannot be used, to be read after its name; None = it can."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What in it has no effect, one line each."""
        return self.rules.warnings


class GroupBook:
    """All groups: the seeds, over them those made at run time, over both the file's. Immutable.

    A group that comes from elsewhere may break others (two producers may each close half of a circle), so a fault
    stands with each group that it makes unusable, and all others go on.
    """

    def __init__(
        self,
        *,
        seeds: Mapping[str, GroupSettings] | None = None,
        file: Mapping[str, GroupSettings] | None = None,
        run_time: Mapping[str, GroupSettings] | None = None,
        tiers: Mapping[str, str] | None = None,
    ) -> None:
        """Compile the groups of three origins.

        Args:
            seeds: Built-in groups.
            file: Groups of the settings file.
            run_time: Groups made at run time, from Redis; those with an impossible name are left out.
            tiers: Names that stand for models or groups, and go before groups.
        """
        self._seeds, self._file = dict(seeds or {}), dict(file or {})
        self._run_time = {name: one for name, one in (run_time or {}).items() if _is_group_id(name)}
        self._tiers = dict(tiers or {})
        origins: dict[str, Origin] = dict.fromkeys(self._seeds, "seed")
        origins |= dict.fromkeys(self._run_time, "run time")
        origins |= dict.fromkeys(self._file, "file")
        settings = {**self._seeds, **self._run_time, **self._file}
        faults = find_faults(settings, self._tiers)
        self._groups = {
            name: Group(name, one, origins[name], Rules.compile(one), faults.get(name))
            for name, one in settings.items()
        }

    @classmethod
    def from_settings(
        cls, settings: Settings, run_time: Mapping[str, GroupSettings] | None = None
    ) -> GroupBook:
        """The groups of these settings, the seeds among them, with those made at run time."""
        return cls(seeds=seed_groups(), file=settings.groups, run_time=run_time, tiers=settings.models.tiers)

    def __iter__(self) -> Iterator[Group]:
        return iter(self._groups.values())

    def get(self, group_id: str) -> Group | None:
        """The group of this name, usable or not; None when there is none."""
        return self._groups.get(group_id)

    def with_run_time(self, run_time: Mapping[str, GroupSettings]) -> GroupBook:
        """The same book with other groups made at run time."""
        return GroupBook(seeds=self._seeds, file=self._file, run_time=run_time, tiers=self._tiers)

    def with_group(self, group_id: str, settings: GroupSettings) -> GroupBook:
        """The book with one more group made at run time, or another in its place.

        Raises:
            InvalidRequest: The name is impossible, a tier's or a group's of the file; or this group, or one
                that leads to it, would be in a circle, nested too deep, or need a rating for a rating.
        """
        if not _is_group_id(group_id):
            text = f"group {group_id!r}: a name has letters, digits and : . _ - (the first one of these), up to 64"
            raise InvalidRequest(text, field="id")
        self._refuse_read_only(group_id)
        if group_id in self._tiers:
            raise InvalidRequest(f"group {group_id!r}: has the name of a tier, which goes first", field="id")
        return self._checked(self.with_run_time({**self._run_time, group_id: settings}))

    def without(self, group_id: str) -> GroupBook:
        """The book without a group made at run time; a seed that it stood over is back.

        Raises:
            InvalidRequest: There is none, or it is the file's or built in; or the seed does not fit the others.
        """
        self._refuse_read_only(group_id)
        if group_id not in self._run_time:
            what = "is built in" if group_id in self._seeds else "does not exist"
            raise InvalidRequest(f"group {group_id!r} {what}", field="id")
        rest = {name: one for name, one in self._run_time.items() if name != group_id}
        return self._checked(self.with_run_time(rest))

    def _refuse_read_only(self, group_id: str) -> None:
        if group_id in self._file:
            raise InvalidRequest(f"group {group_id!r} is in the settings file: change it there", field="id")

    def _checked(self, after: GroupBook) -> GroupBook:
        """Another book, if nothing is at fault in it that was not before.

        Raises:
            InvalidRequest: Something is.
        """
        for group in after:
            before = self.get(group.id)
            if group.fault is not None and (before is None or before.fault is None):
                raise InvalidRequest(f"group {group.id!r} {group.fault}", field="targets")
        return after


def _is_group_id(name: str) -> bool:
    try:
        _GROUP_ID.validate_python(name)
    except ValidationError:
        return False
    return True
