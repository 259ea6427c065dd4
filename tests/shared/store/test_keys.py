"""The catalogue of keys is complete and says the same as the scripts."""

from __future__ import annotations

import inspect
import re
from importlib.resources import files

from shared.store import keys
from shared.store.scripts import script_names


def catalogue() -> set[str]:
    """Every prefix in keys.py, placeholders cut off."""
    constants = {value for name, value in vars(keys).items() if name.isupper() and isinstance(value, str)}
    functions = [f for _, f in inspect.getmembers(keys, inspect.isfunction)]
    names = [function(*("*" for _ in inspect.signature(function).parameters)) for function in functions]
    return constants | {name[: name.index("*")] for name in names}


def test_scripts_use_only_catalogued_keys() -> None:
    """A key that only a script knows is a key nobody documents."""
    folder = files("shared.store") / "lua"
    paths = [*folder.iterdir(), *(folder / "lib").iterdir()]
    source = "".join(path.read_text() for path in paths if path.name.endswith(".lua"))
    code = re.sub(r"--.*", "", source)
    used = set(re.findall(r"'((?:rq|chatq):[a-z:_]*)'", code))
    assert used - catalogue() == set()


def test_every_key_says_type_and_life() -> None:
    """Each docstring names the Redis type."""
    for _, function in inspect.getmembers(keys, inspect.isfunction):
        assert re.search(r"List|Hash|Stream|Sorted set|Set|Channel|String", function.__doc__ or ""), function


def test_each_script_header_tells_its_contract() -> None:
    """Purpose, repeat-safety, arguments and replies stand at the top of each script."""
    for name in script_names():
        header = (files("shared.store") / "lua" / f"{name}.lua").read_text().split("\nlocal ")[0]
        for word in ("ARGV", "Return", "afe to"):
            assert word in header, f"{name}.lua does not say {word!r}"


def test_scripts_are_small_enough_for_one_page() -> None:
    """A script blocks everybody and is read by everybody; so is a library."""
    folder = files("shared.store") / "lua"
    paths = [path for path in (*folder.iterdir(), *(folder / "lib").iterdir()) if path.name.endswith(".lua")]
    sizes = {path.name: len(path.read_text().splitlines()) for path in paths}
    assert max(sizes.values()) < 400, sizes
