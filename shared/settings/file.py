"""Finding and reading the settings file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli

from shared.errors import ConfigError
from shared.settings.lakehouse import from_lakehouse, is_lakehouse
from shared.settings.raw import RawSettings

DEFAULT_FILE = Path("chatq.toml")


def read_file(path: Path | None, env: Mapping[str, str]) -> RawSettings:
    """Read the settings file: `path`, else `CHATQ_CONFIG`, else `./chatq.toml` if there is one.

    Raises:
        ConfigError: The file is there but cannot be read or is not TOML.
    """
    named = path or (Path(env["CHATQ_CONFIG"]) if env.get("CHATQ_CONFIG") else None)
    source = named or DEFAULT_FILE
    if not source.exists():
        if named is None:
            return RawSettings()
        origin = "--config" if path else "CHATQ_CONFIG"
        return RawSettings(warnings=(f"{source} ({origin}) does not exist; using defaults",))
    tree = _parse(source)
    return from_lakehouse(tree, source) if is_lakehouse(tree, source) else RawSettings(tree, source)


def _parse(source: Path) -> dict[str, Any]:
    try:
        return tomli.loads(source.read_text(encoding="utf-8-sig"))
    except OSError as exc:
        raise ConfigError(f"{source} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError:
        raise ConfigError(f"{source} is not UTF-8 text; save it as UTF-8") from None
    except tomli.TOMLDecodeError as exc:
        # The line and column say enough; the text of the file may hold a key.
        raise ConfigError(f"{source} is not valid TOML: {exc}") from None
