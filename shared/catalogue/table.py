"""The built-in table: `providers.toml` and `models.toml`, read once a process."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from importlib import resources
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import tomli
from pydantic import Field

from shared.catalogue.names import find_name
from shared.catalogue.row import Row, row_of
from shared.settings.catalogue import Day, Kind, ModelEntry
from shared.settings.section import Section


class KnownProvider(Section):
    """One provider of the table (`providers.toml` says what the keys mean)."""

    hosts: tuple[str, ...] = Field(default=(), strict=False)
    vendors: tuple[str, ...] = Field(default=(), strict=False)
    kind: Kind
    needs_output_limit: bool | None = None


class ListedModel(ModelEntry):
    """One row of `models.toml`."""

    source: str = Field(min_length=1)
    """Where the facts are from."""

    as_of: Day = Field(min_length=1)
    """The day they were read there."""

    aliases: tuple[str, ...] = Field(default=(), strict=False)
    """Further names of the same model."""


class Shelves:
    """Rows by provider and by name; a `Source`."""

    def __init__(self, rows: Mapping[str, Mapping[str, Row]]) -> None:
        """Take rows by provider, then by name in small letters."""
        self._rows = rows

    @property
    def providers(self) -> Collection[str]:
        """Those that have rows."""
        return self._rows.keys()

    def names(self, provider: str) -> Collection[str]:
        """The models of a provider that have rows."""
        return self._rows.get(provider, {}).keys()

    def row(self, provider: str, model: str) -> Row | None:
        """See `Source.row`."""
        listed = self._rows.get(provider, {})
        name = find_name(listed, model)
        return None if name is None else listed[name]


class Table(NamedTuple):
    """What chatq knows by itself."""

    providers: Mapping[str, KnownProvider]
    models: Shelves


@cache
def builtin_table() -> Table:
    """The table in the package."""
    providers = {name: KnownProvider.model_validate(entry) for name, entry in _read("providers.toml").items()}
    rows: dict[str, dict[str, Row]] = {}
    for key, stated in _read("models.toml").items():
        entry = ListedModel.model_validate(stated)
        provider, _, model = key.partition("/")
        row = row_of(entry, source=entry.source, as_of=entry.as_of)
        rows.setdefault(provider, {}).update(dict.fromkeys((model, *entry.aliases), row))
    return Table(providers, Shelves(rows))


def _read(name: str) -> dict[str, Any]:
    return tomli.loads((resources.files("shared.catalogue") / name).read_text(encoding="utf-8"))


def provider_at(base_url: str, providers: Mapping[str, KnownProvider]) -> str | None:
    """The provider whose address this is: of those whose host and path it begins with, the longest."""
    parts = urlsplit(base_url)
    address = f"{parts.hostname or ''}{parts.path}".rstrip("/") + "/"
    found = [
        (len(host), name)
        for name, provider in providers.items()
        for host in provider.hosts
        if address.startswith(f"{host}/")
    ]
    return max(found)[1] if found else None
