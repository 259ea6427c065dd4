"""The run file: identity over interruptions, and the lock."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from producer.batch.line_cost import LineCost
from producer.batch.run_file import RunFile
from shared.errors import BatchRefused


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl.run"


def begun(path: Path, name: str = "in.jsonl") -> RunFile:
    run_file = RunFile(path)
    run_file.begin(name, "default")
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
        other.begin("other.jsonl", "default")
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
    second.begin("other.jsonl", "default")
    second.close(is_kept=True)
    assert second.run != first.run
    assert second.input == "other.jsonl"


def test_unfinished_run_wants_its_client(path: Path) -> None:
    """Its jobs carry that client's keys: another's would be asked, and paid, again."""
    begun(path).close(is_kept=True)
    other = RunFile(path)
    with pytest.raises(BatchRefused, match="unfinished run for client default"):
        other.begin("in.jsonl", "nightly")
    other.close(is_kept=True)


def test_what_was_noted_is_there_after_a_crash(path: Path) -> None:
    """A note that was cut short is none, and does not hurt the next one."""
    first = begun(path)
    first.note_cancelling()
    first.note_cancelling()
    first.note_dropped(LineCost(Decimal("0.1"), 1, Decimal("0.05")))
    first.close(is_kept=True)
    path.write_bytes(path.read_bytes() + b'\n{"dropped":{"us')
    second = begun(path)
    second.note_dropped(LineCost(Decimal("0.2"), 2))
    second.note_dropped(LineCost())
    second.close(is_kept=True)
    third = begun(path)
    third.close(is_kept=False)
    assert third.run == first.run
    assert third.has_cancelled
    assert third.dropped_cost == LineCost(Decimal("0.3"), 3, Decimal("0.05"))
    assert path.exists() is False


def test_forgotten_run_has_no_notes(path: Path) -> None:
    run_file = begun(path)
    run_file.note_cancelling()
    run_file.forget()
    assert (run_file.has_cancelled, run_file.run) == (False, "")
    run_file.close(is_kept=False)
