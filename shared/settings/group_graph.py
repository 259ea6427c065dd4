"""How groups lead into each other: circles, too deep nesting, and selectors that would need a selector.

Names are followed as the router does it: a tier stands for its model, a group for its targets; what is neither is a
model, and ends there. Groups come from Redis, too, so nothing here grows faster than their number, nor recurses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import suppress
from graphlib import CycleError, TopologicalSorter

from shared.settings.groups import GroupSettings

MAX_DEPTH = 10
"""Groups inside each other, the first one counted."""


def follow_tiers(name: str, tiers: Mapping[str, str]) -> str:
    """What a name stands for when it is a tier, or a tier of a tier; any other name as it is."""
    while tiers.get(name, name) != name:
        name = tiers[name]
    return name


def find_faults(groups: Mapping[str, GroupSettings], tiers: Mapping[str, str]) -> dict[str, str]:
    """The groups that cannot be used, and what is wrong with each, to be read after its name.

    A fault is every group's above it, too.
    """

    def known(*names: str) -> list[str]:
        return [found for name in names if (found := follow_tiers(name, tiers)) in groups]

    targets = {name: known(*group.targets) for name, group in groups.items()}
    selectors = {name: known(group.selector) if _rates(group) else [] for name, group in groups.items()}
    inner = {name: targets[name] + selectors[name] for name in groups}
    order = list(_from_the_bottom(inner))
    raters: set[str] = set()
    for name in order:
        if _rates(groups[name]) or not raters.isdisjoint(targets[name]):
            raters.add(name)
    faults = _circles(inner, groups.keys() - set(order)) | _too_deep(inner, order)
    for name in order:
        needy = [one for one in selectors[name] if one in raters]
        own = [f"asks a selector that needs a rating itself: {name} -> {one}" for one in needy]
        below = [faults[one] for one in inner[name] if one in faults]
        if found := [*below, *own]:
            faults.setdefault(name, found[0])
    return faults


def _rates(group: GroupSettings) -> bool:
    return group.strategy == "classifier"


def _from_the_bottom(inner: Mapping[str, list[str]]) -> Iterator[str]:
    """Groups after all that they lead to; those that lead into a circle do not come."""
    sorter = TopologicalSorter(inner)
    with suppress(CycleError):  # what no circle blocks can be had all the same
        sorter.prepare()
    while ready := sorter.get_ready():
        yield from ready
        sorter.done(*ready)


def _circles(inner: Mapping[str, list[str]], blocked: Set[str]) -> dict[str, str]:
    """For each group that leads into a circle, the first one it comes upon."""
    faults: dict[str, str] = {}
    for start in sorted(blocked):
        path: dict[str, None] = {}
        name = start
        while name not in path and name not in faults:
            path[name] = None
            # Whatever is blocked leads to something that is.
            name = next(one for one in inner[name] if one in blocked)
        if name not in faults:
            way = list(path)
            circle = " -> ".join([*way[way.index(name) :], name])
            faults[name] = f"leads into a circle: {circle}"
        faults |= dict.fromkeys(path, faults[name])
    return faults


def _too_deep(inner: Mapping[str, list[str]], order: Iterable[str]) -> dict[str, str]:
    """For each group with too many below each other in it, the deepest way."""
    faults: dict[str, str] = {}
    longest: dict[str, tuple[str, ...]] = {}
    for name in order:
        below = max((longest[one] for one in inner[name]), key=len, default=())
        longest[name] = (name, *below[:MAX_DEPTH])
        if len(longest[name]) > MAX_DEPTH:
            faults[name] = f"is nested over {MAX_DEPTH} deep: {' -> '.join(longest[name])}"
    return faults
