"""Quirks: what a provider or a model wants beyond its wire, each a small piece with a name that settings list."""

from worker.upstream.quirks.quirk import Quirk
from worker.upstream.quirks.table import QUIRK_TABLE

__all__ = ["QUIRK_TABLE", "Quirk"]
