"""What models have refused, so that it is not sent to them again: learned, in memory, lost with the process."""

from __future__ import annotations

from typing import Any

MAX_MODELS = 1000
"""Models remembered; model names come from jobs, so there may be any number."""


class RefusedFields:
    """The fields that each model of one upstream does not take."""

    def __init__(self) -> None:
        self._by_model: dict[str, frozenset[str]] = {}

    def leave_out(self, model: str, body: dict[str, Any]) -> None:
        """Take the fields that the model has refused before out of a request body."""
        for name in self._by_model.get(model, ()):
            body.pop(name, None)

    def learn(self, model: str, body: dict[str, Any], fields: frozenset[str]) -> bool:
        """Remember that the model refused one of these fields.

        Args:
            model: The model's name at the provider.
            body: What was sent.
            fields: The fields that the error speaks of.

        Returns:
            Whether any of them was sent: only then is another try without them another request.
        """
        if fields.isdisjoint(body):
            return False
        known = self._by_model.pop(model, frozenset())
        if len(self._by_model) >= MAX_MODELS:
            del self._by_model[next(iter(self._by_model))]  # the one that was learned the longest ago
        self._by_model[model] = known | fields
        return True
