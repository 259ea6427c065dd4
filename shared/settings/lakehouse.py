"""An existing `lakehouse.toml`, read as chatq settings.

Such a file belongs to another program, so only what chatq understands is taken and nothing in it stops the
start except a value that is wrong: `[chatd]` (`bind`, `ollama_url`, `timeout_secs`, `<provider>_key_env`,
`<provider>_key_file`), `[models]`, `[auth]` and `[log]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from shared.settings.builtin_providers import BUILTIN_PROVIDERS
from shared.settings.raw import KeyPath, RawSettings
from shared.settings.sections import AuthSettings, LogSettings

_LOG_LEVELS = {"trace": "debug", "warn": "warning", "fatal": "error", "critical": "error"}


def is_lakehouse(tree: Mapping[str, Any], source: Path) -> bool:
    """Whether a file is a lakehouse file: by its `[chatd]` section or by its name."""
    return "chatd" in tree or source.name == "lakehouse.toml"


def from_lakehouse(tree: Mapping[str, Any], source: Path) -> RawSettings:
    """Map a lakehouse file onto chatq's sections; what is not understood becomes one warning."""
    translation = _Translation(source)
    for section, translate in (
        ("chatd", translation.chatd),
        ("models", translation.models),
        ("auth", translation.auth),
        ("log", translation.log),
    ):
        values = tree.get(section, {})
        if isinstance(values, Mapping):
            for key, value in values.items():
                translate(key, value)
        else:
            translation.ignored.append(section)
    ignored = translation.ignored
    warnings = (f"{source}: not understood and ignored: {', '.join(ignored)}",) if ignored else ()
    return RawSettings(translation.tree, source, warnings, translation.origins)


class _Translation:
    """Collects the chatq tables; one method per lakehouse section, called once per key."""

    def __init__(self, source: Path) -> None:
        self.tree: dict[str, Any] = {}
        self.origins: dict[KeyPath, str] = {}
        self.ignored: list[str] = []
        self._source = source

    def chatd(self, key: str, value: Any) -> None:
        provider, _, setting = key.rpartition("_key_")
        if key == "bind":
            self._put(("api", "bind"), value, "chatd.bind")
        elif key == "ollama_url":
            self._put(("providers", "ollama", "base_url"), value, "chatd.ollama_url")
        elif key == "timeout_secs":
            for name in BUILTIN_PROVIDERS:
                self._put(("providers", name, "timeout_s"), value, "chatd.timeout_secs")
        elif provider in BUILTIN_PROVIDERS and setting in ("env", "file"):
            self._put(("providers", provider, f"key_{setting}"), value, f"chatd.{key}")
        else:
            self.ignored.append(f"chatd.{key}")

    def models(self, key: str, value: Any) -> None:
        is_model = isinstance(value, str) and value.strip() and key != "weak_models"
        if is_model or (key == "weak_models" and isinstance(value, list)):
            self._put(("models", key), value, f"models.{key}")
        else:
            self.ignored.append(f"models.{key}")

    def auth(self, key: str, value: Any) -> None:
        if key in AuthSettings.model_fields:
            self._put(("auth", key), value, f"auth.{key}")
        else:
            self.ignored.append(f"auth.{key}")

    def log(self, key: str, value: Any) -> None:
        level = _LOG_LEVELS.get(str(value).lower(), str(value).lower())
        if key == "level" and level in get_args(LogSettings.model_fields["level"].annotation):
            self._put(("log", "level"), level, "log.level")
        else:
            self.ignored.append(f"log.{key}")

    def _put(self, path: KeyPath, value: Any, key: str) -> None:
        table = self.tree
        for part in path[:-1]:
            table = table.setdefault(part, {})
        table[path[-1]] = value
        self.origins[path] = f"{self._source}: {key}"
