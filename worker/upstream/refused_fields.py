"""What models have refused, so that it is not sent to them again: learned, in memory, lost with the process."""

from __future__ import annotations

from typing import Any

MAX_MODELS = 1000
"""Models remembered; model names come from jobs, so there may be any number."""

MAX_VALUES = 20
"""Refused values remembered of one field; after that, the field is never sent."""

_LEVELS = frozenset(
    {"think", "reasoning_effort", "reasoning", "reasoning.effort", "generationConfig.thinkingConfig"}
)
"""Fields of which a model refuses some values and takes others (docs/provider-wire.md §7, §8, §10)."""

_NOT_SENT = object()

_Refused = list[Any] | None
"""The values that were refused; None: all."""


class RefusedFields:
    """The fields, or values of fields, that each model of one upstream does not take.

    A field is named by its path in the body: `temperature`, `generationConfig.thinkingConfig`.
    """

    def __init__(self) -> None:
        self._by_model: dict[str, dict[str, _Refused]] = {}

    def leave_out(self, model: str, body: dict[str, Any]) -> None:
        """Take what the model has refused before out of a request body."""
        refused = self._by_model.get(model)
        for path, values in refused.items() if refused else ():
            sent = _sent(body, path)
            if sent is not _NOT_SENT and (values is None or sent in values):
                _take_out(body, path)

    def learn(self, model: str, body: dict[str, Any], fields: frozenset[str]) -> bool:
        """Remember that the model refused one of these fields.

        Args:
            model: The model's name at the provider.
            body: What was sent.
            fields: Paths of the fields that the error speaks of.

        Returns:
            Whether any of them was sent: only then is another try without them another request.
        """
        sent = {path: _sent(body, path) for path in fields}
        if all(value is _NOT_SENT for value in sent.values()):
            return False
        known = self._by_model.pop(model, {})
        if len(self._by_model) >= MAX_MODELS:
            del self._by_model[next(iter(self._by_model))]  # the one that was learned the longest ago
        self._by_model[model] = known | {path: _refused(path, known, sent[path]) for path in fields}
        return True


def _refused(path: str, known: dict[str, _Refused], sent: Any) -> _Refused:
    values = known.get(path, [])
    if path not in _LEVELS or values is None or len(values) >= MAX_VALUES:
        return None
    return values if sent is _NOT_SENT else [*values, sent]


def _sent(body: dict[str, Any], path: str) -> Any:
    """The value at a path, or `_NOT_SENT`."""
    value: Any = body
    for name in path.split("."):
        if not isinstance(value, dict) or name not in value:
            return _NOT_SENT
        value = value[name]
    return value


def _take_out(body: dict[str, Any], path: str) -> None:
    """Take out what is at a path, and the objects around it that are empty then.

    Those that stay are copied: they may be the request's own.
    """
    name, _, rest = path.partition(".")
    if rest:
        inner = dict(body[name])
        _take_out(inner, rest)
        if inner:
            body[name] = inner
            return
    del body[name]
