from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.catalogue import Catalogue
from shared.settings import load_settings

MakeCatalogue = Callable[..., Catalogue]


@pytest.fixture
def make_catalogue(tmp_path: Path) -> MakeCatalogue:
    """A catalogue of the built-in table under the given settings."""

    def make(toml: str = "") -> Catalogue:
        file = tmp_path / "chatq.toml"
        file.write_text(toml, encoding="utf-8")
        return Catalogue.from_settings(load_settings(file, env={"HOME": str(tmp_path)}))

    return make


@pytest.fixture
def at() -> Callable[[str], float]:
    """Unix seconds of a moment in UTC, like `2026-11-30T23:59`."""
    return lambda text: datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
