"""Routing: which upstreams a model name, and for groups a request, leads to."""

from shared.routing.facts import NO_FACTS, Facts
from shared.routing.features import Features, features_of
from shared.routing.groups import Group, GroupBook
from shared.routing.resolver import Route, Router
from shared.routing.walk import MAX_CANDIDATES, Selection

__all__ = [
    "MAX_CANDIDATES",
    "NO_FACTS",
    "Facts",
    "Features",
    "Group",
    "GroupBook",
    "Route",
    "Router",
    "Selection",
    "features_of",
]
