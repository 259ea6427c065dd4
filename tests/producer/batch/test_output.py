"""Output files: names, what is recorded, torn ends, foreign files."""

from __future__ import annotations

from pathlib import Path

import pytest

from producer.batch.output import OutputFiles, Paths
from producer.batch.record import job_record
from shared.errors import BatchRefused
from shared.job import JobState

from .memory_client import job

RUN = "0123456789abcdef"


def line(number: int) -> bytes:
    return job_record(RUN, number, f"id-{number}", job("j", JobState.COMPLETED, response={"a": "ä" * 20}))


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "out.jsonl")


@pytest.mark.parametrize(
    ("output", "errors"),
    [
        ("X.jsonl", "X.errors.jsonl"),
        ("X", "X.errors.jsonl"),
        ("X.json", "X.json.errors.jsonl"),
        ("a.b.jsonl", "a.b.errors.jsonl"),
    ],
)
def test_error_file_is_named_after_the_output(output: str, errors: str) -> None:
    """Beside it; only `.jsonl` is replaced."""
    assert Paths(Path("d") / output).errors == Path("d") / errors


def test_appended_records_are_recorded(paths: Paths) -> None:
    """Each file holds its own, over several groups."""
    files = OutputFiles(paths)
    files.append([line(1)], [line(2)])
    files.append([line(3)], [])
    files.close()
    assert [head.number for head in files.recorded()] == [1, 3]
    assert [(head.number, head.custom_id) for head in files.failed()] == [(2, "id-2")]


def test_no_failures_make_no_error_file(paths: Paths) -> None:
    """An empty file would only raise questions."""
    files = OutputFiles(paths)
    files.append([line(1)], [])
    files.close()
    assert not paths.errors.exists()


@pytest.mark.parametrize("kept_bytes", [1, 10, 30, len(line(2)) - 1])
def test_torn_last_line_is_cut_off(kept_bytes: int, paths: Paths) -> None:
    """A crash in a write leaves the lines before it."""
    paths.output.write_bytes(line(1) + line(2)[:kept_bytes])
    assert [head.number for head in OutputFiles(paths).recorded()] == [1]
    assert paths.output.read_bytes() == line(1)


@pytest.mark.parametrize("kept_bytes", [0, 1, 40])
def test_torn_first_line_leaves_nothing(kept_bytes: int, paths: Paths) -> None:
    """The very first write may be torn."""
    paths.output.write_bytes(line(1)[:kept_bytes])
    assert list(OutputFiles(paths).recorded()) == []
    assert paths.output.read_bytes() == b""


@pytest.mark.parametrize("content", [b"my notes", b"my notes\n", b'{"a": 1}\n', line(1) + b"notes\n"])
def test_foreign_file_is_refused_untouched(content: bytes, paths: Paths) -> None:
    """Somebody's data are not cut, not appended to."""
    paths.output.write_bytes(content)
    with pytest.raises(BatchRefused, match="was not written by `chatq run`"):
        list(OutputFiles(paths).recorded())
    assert paths.output.read_bytes() == content


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("in.jsonl", "would be overwritten"),
        ("out.jsonl.gz", "cannot be compressed"),
        ("missing/out.jsonl", "make it first"),
        (".", "must be a file"),
    ],
)
def test_unusable_output_name_is_refused(output: str, words: str, tmp_path: Path) -> None:
    """Before anything is touched, with what to do."""
    source = tmp_path / "in.jsonl"
    source.write_text("{}")
    with pytest.raises(BatchRefused, match=words):
        Paths(tmp_path / output).check(source)


def test_input_may_not_be_the_error_file(tmp_path: Path) -> None:
    """Nor any name the run writes to."""
    source = tmp_path / "out.errors.jsonl"
    source.write_text("{}")
    with pytest.raises(BatchRefused, match="would be overwritten"):
        Paths(tmp_path / "out.jsonl").check(source)
