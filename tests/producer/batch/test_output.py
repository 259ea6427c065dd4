"""Output files: names, what is recorded, torn ends, foreign files."""

from __future__ import annotations

from pathlib import Path

import pytest

from producer.batch.line_cost import NOTHING
from producer.batch.output import OutputFiles, Paths
from producer.batch.reader import BadLine
from producer.batch.record import BUDGET_REACHED, bad_line_record, job_record
from shared.errors import BatchRefused
from shared.job import JobState

from .memory_client import job

RUN = "0123456789abcdef"


def line(number: int) -> bytes:
    answered = job("j", JobState.COMPLETED, response={"a": "ä" * 20})
    return job_record(RUN, number, f"id-{number}", answered, NOTHING)


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


@pytest.fixture
def marked(tmp_path: Path) -> OutputFiles:
    """Files with failures, some of them lines that were left out."""
    files = OutputFiles(Paths(tmp_path / "out.jsonl"))
    codes = enumerate(("x", BUDGET_REACHED, "y", BUDGET_REACHED), start=1)
    files.append([], [bad_line_record(RUN, BadLine(n, f"id-{n}", code, "")) for n, code in codes])
    files.close()
    return files


def test_marks_can_be_removed_alone(marked: OutputFiles) -> None:
    """The other failures stay as they are; what a crash left of an earlier try is in nobody's way."""
    before = marked.paths.errors.read_bytes().splitlines()
    marked.paths.errors.with_name("out.errors.jsonl.new").write_text("torn")
    marked.remove_marks()
    assert marked.paths.errors.read_bytes().splitlines() == before[::2]
    assert [path.name for path in marked.paths.errors.parent.iterdir()] == ["out.errors.jsonl"]


def test_file_of_marks_goes_with_them(marked: OutputFiles) -> None:
    marked.remove_failures()
    marked.append([], [bad_line_record(RUN, BadLine(1, "a", BUDGET_REACHED, ""))])
    marked.close()
    marked.remove_marks()
    assert not marked.paths.errors.exists()


def test_reader_without_the_lock_mends_nothing(marked: OutputFiles) -> None:
    """Somebody else may be writing just now."""
    torn = marked.paths.errors.read_bytes()[:-20]
    marked.paths.errors.write_bytes(torn)
    looking = OutputFiles(marked.paths, is_mending=False)
    assert [head.number for head in looking.failed()] == [1, 2, 3]
    assert marked.paths.errors.read_bytes() == torn
