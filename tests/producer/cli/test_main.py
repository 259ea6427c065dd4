"""The `chatq` command itself: finding commands, options for all of them, errors as exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from producer.cli.main import CommandGroup

from .conftest import RunChatq

COMMANDS = '''
import click
from shared.errors import ConfigError, JobFailed, ProviderNotFound, StoreUnavailable, WaitTimeout

ERRORS = {
    "failed": JobFailed("the job\\nfailed"),
    "config": ConfigError("wrong"),
    "route": ProviderNotFound("none", provider="x"),
    "redis": StoreUnavailable("gone"),
    "wait": WaitTimeout("too long"),
    "stop": KeyboardInterrupt(),
}

@click.command()
@click.argument("error")
def fail(error):
    """Fail as asked."""
    raise ERRORS[error]
'''


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandGroup:
    """A group over an installed distribution with a good command, a broken one and one that is none."""
    (tmp_path / "chatq_test_commands.py").write_text(COMMANDS)
    info = tmp_path / "chatq_test_commands-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: chatq_test_commands\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[chatq.commands]\nfail = chatq_test_commands:fail\n"
        "broken = chatq_test_no_such_module:x\nnothing = os:path\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return CommandGroup("chatq")


def run(group: CommandGroup, *args: str) -> Result:
    return CliRunner().invoke(group, args)


@pytest.mark.parametrize(
    ("error", "exit_code", "message"),
    [
        ("failed", 1, "chatq: the job failed\n"),
        ("config", 3, "chatq: wrong\n"),
        ("route", 4, "chatq: none\n"),
        ("redis", 5, "chatq: gone\n"),
        ("wait", 6, "chatq: too long\n"),
        ("stop", 130, ""),
    ],
)
def test_error_becomes_one_line_and_code(
    group: CommandGroup, error: str, exit_code: int, message: str
) -> None:
    """Errors of chatq's go to standard error without a traceback; Ctrl-C says nothing."""
    result = run(group, "fail", error)
    assert (result.exit_code, result.stderr, result.stdout) == (exit_code, message, "")


def test_help_survives_a_broken_command(group: CommandGroup) -> None:
    """The others are listed with their help, the broken one with its error."""
    result = run(group, "--help")
    assert result.exit_code == 0
    text = " ".join(result.stdout.split())
    assert "fail Fail as asked." in text
    assert "broken (command 'broken' does not load: ModuleNotFoundError: No module named" in text
    assert "nothing (command 'nothing' does not load: os:path is no command; reinstall chatq)" in text
    assert "route Explain where MODEL would be sent." in text


def test_broken_command_stops_with_configuration_code(group: CommandGroup) -> None:
    """Running it says what to do."""
    result = run(group, "broken")
    assert result.exit_code == 3
    assert result.stderr == (
        "chatq: command 'broken' does not load: "
        "ModuleNotFoundError: No module named 'chatq_test_no_such_module'; reinstall chatq\n"
    )


@pytest.mark.parametrize(
    "args", [["nope"], ["route"], ["route", "a", "b"], ["--nope"], ["route", "x", "--lane", "y"]]
)
def test_usage_error_exits_two(run_chatq: RunChatq, args: list[str]) -> None:
    """Wrong command lines are click's to explain."""
    assert run_chatq(*args).exit_code == 2


def test_version_is_the_distributions(run_chatq: RunChatq) -> None:
    """`--version` prints name and number."""
    result = run_chatq("--version")
    assert (result.exit_code, result.stdout.split()[0]) == (0, "chatq")


def test_missing_config_warns_once(run_chatq: RunChatq) -> None:
    """The warning goes to standard error, so that the data stays clean."""
    result = run_chatq("--config", "gone.toml", "route", "x", "--json")
    assert result.exit_code == 0
    assert result.stderr == "chatq: warning: gone.toml (--config) does not exist; using defaults\n"
    assert result.stdout.startswith('{"requested":"x"')


def test_verbose_shows_where_an_error_came_from(run_chatq: RunChatq) -> None:
    """`-v` adds the traceback before the line."""
    code = "from producer.cli.main import main; import sys; sys.argv = ['chatq', *sys.argv[1:]]; main()"
    command = [sys.executable, "-c", code, "-v", "--config", ".", "route", "x"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 3
    assert "Traceback" in result.stderr
    assert result.stderr.endswith("chatq: . cannot be read: Is a directory\n")


def test_closed_pipe_is_quiet() -> None:
    """`chatq models | head -1` must not end in a traceback."""
    code = "from producer.cli.main import main; import sys; sys.argv = ['chatq', 'models']; main()"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, stderr = process.communicate(timeout=60)
    assert stderr == b""


def test_tables_library_is_not_loaded_for_a_route() -> None:
    """Start-up matters: rich is imported only when a table goes to a terminal."""
    code = "import producer.cli.main, producer.cli.routing, sys; sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
