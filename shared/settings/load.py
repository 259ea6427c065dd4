"""Building `Settings` from the file and the environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from shared.errors import ConfigError
from shared.settings.env import apply_env
from shared.settings.file import read_file
from shared.settings.problems import describe, unknown
from shared.settings.sections import default_data_dir
from shared.settings.tree import SECTIONS, Settings


def load_settings(path: Path | None = None, *, env: Mapping[str, str]) -> Settings:
    """Read settings: defaults, under the file, under `CHATQ_*` variables.

    Args:
        path: Settings file (`--config`). None: `CHATQ_CONFIG`, else `./chatq.toml` if there is one.
        env: The process environment; entry points pass `os.environ`.

    Returns:
        Settings whose `warnings` the caller should print, such as a named file that does not exist.

    Raises:
        ConfigError: The file or a variable is wrong; the message names it, the key and what is allowed.
    """
    raw = apply_env(read_file(path, env), env)
    for section in raw.tree:
        if section not in SECTIONS:
            raise ConfigError(unknown((section,), raw))
    _place_files(raw.tree, env)
    try:
        return Settings.model_validate({**raw.tree, "source": raw.source, "warnings": raw.warnings})
    except ValidationError as exc:
        # Not chained: a traceback would show the refused values, and one of them may be a key.
        raise ConfigError(describe(exc, raw)) from None


def _place_files(tree: dict[str, Any], env: Mapping[str, str]) -> None:
    """Resolve the paths that depend on whose process this is: the data folder, and `~` in others."""
    home = Path(env["HOME"]) if env.get("HOME") else Path.home()
    redis = tree.setdefault("redis", {})
    if isinstance(redis, dict):  # anything else is validation's to refuse, here and below
        given = redis.get("data_dir", "")
        redis["data_dir"] = str(_data_dir(home, env)) if given == "" else _in_home(given, home)
    worker = tree.get("worker")
    if isinstance(worker, dict) and "spool_dir" in worker:
        worker["spool_dir"] = _in_home(worker["spool_dir"], home)
    providers = tree.get("providers")
    for entry in providers.values() if isinstance(providers, dict) else ():
        if isinstance(entry, dict) and "key_file" in entry:
            entry["key_file"] = _in_home(entry["key_file"], home)


def _in_home(path: Any, home: Path) -> Any:
    return str(home / path[2:]) if isinstance(path, str) and path.startswith("~/") else path


def _data_dir(home: Path, env: Mapping[str, str]) -> Path:
    # A relative XDG_DATA_HOME counts as unset (XDG Base Directory Specification).
    data_home = Path(env.get("XDG_DATA_HOME", ""))
    return data_home / "chatq" / "redis" if data_home.is_absolute() else default_data_dir(home)
