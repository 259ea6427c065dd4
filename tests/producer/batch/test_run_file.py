"""The run file: identity over interruptions, and the lock."""

from __future__ import annotations

from pathlib import Path

import pytest

from producer.batch.run_file import RunFile
from shared.errors import BatchRefused


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl.run"


def begun(path: Path, name: str = "in.jsonl") -> RunFile:
    run_file = RunFile(path)
    run_file.begin(name)
    return run_file


def test_unfinished_run_keeps_its_identity(path: Path) -> None:
    """The next process goes on under the same id."""
    first = begun(path)
    first.close(is_kept=True)
    second = begun(path)
    second.close(is_kept=True)
    assert second.run == first.run


def test_finished_run_leaves_no_file(path: Path) -> None:
    """The next run is another one."""
    first = begun(path)
    first.close(is_kept=False)
    assert not path.exists()
    second = begun(path)
    second.close(is_kept=False)
    assert second.run != first.run


def test_second_process_is_refused(path: Path) -> None:
    """Two writers would mix their lines."""
    first = begun(path)
    with pytest.raises(BatchRefused, match="another run is writing here"):
        RunFile(path)
    first.close(is_kept=True)


def test_lock_ends_with_its_holder(path: Path) -> None:
    """What a killed process leaves behind is a file, not a lock."""
    first = begun(path)
    first._file.close()  # what the kernel does at the end of a process
    second = begun(path)
    assert second.run == first.run
    second.close(is_kept=False)


def test_unfinished_run_wants_its_input(path: Path) -> None:
    """Another input under the same identity would mix answers."""
    begun(path).close(is_kept=True)
    other = RunFile(path)
    with pytest.raises(BatchRefused, match=r"unfinished run of in\.jsonl"):
        other.begin("other.jsonl")
    other.close(is_kept=True)


@pytest.mark.parametrize("content", [b"", b'{"run": "01', b"[]", b'{"run": "x"}'])
def test_torn_identity_is_replaced(content: bytes, path: Path) -> None:
    """It was not on disk yet, so nothing had been submitted under it."""
    path.write_bytes(content)
    run_file = begun(path)
    run_file.close(is_kept=True)
    again = begun(path)
    again.close(is_kept=True)
    assert len(run_file.run) == 16
    assert again.run == run_file.run


def test_forgotten_identity_is_replaced(path: Path) -> None:
    """A restart asks everything anew."""
    first = begun(path)
    first.close(is_kept=True)
    second = RunFile(path)
    second.forget()
    second.begin("other.jsonl")
    second.close(is_kept=True)
    assert second.run != first.run
    assert second.input == "other.jsonl"
