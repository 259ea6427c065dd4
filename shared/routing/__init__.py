"""Routing: which upstream a model name leads to."""

from shared.routing.resolver import Route, Router

__all__ = ["Route", "Router"]
