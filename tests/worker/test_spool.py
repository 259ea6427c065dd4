"""The spool: what is written, what goes, and what the next worker finds."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from shared.errors import ConfigError
from shared.store.grants import Grant, Outcome, OutcomeKind
from worker import spool
from worker.spool import Spool, left_behind


def outcome(job_id: str, kind: OutcomeKind = "completed", value: bytes = b'{"a":1}') -> Outcome:
    grant = Grant(job_id, "1-n", "p.default", b"", b"", 1, 3, None, None, 0.0, 0)
    return Outcome(grant, kind, value, b'{"type":"attempt"}', b'{"type":"outcome"}', b"1 2 3 4 good ")


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def crash(dead: Spool) -> None:
    """What kill -9 does to a process's files: the locks go, the content stays."""
    for segment in {dead._current, *dead._segment_of.values()}:
        segment.file.close()


def test_answers_of_a_dead_process_are_found_once(tmp_path: Path) -> None:
    """Whole, in order, and only by the first who looks."""
    dead = Spool(tmp_path, "w1")
    for job_id in ("a", "b"):
        dead.put(outcome(job_id))
    crash(dead)
    (found,) = left_behind(tmp_path)
    assert [(o.grant.member, o.grant.queue, o.value, o.shown) for o in found] == [
        ("a:1-n", "p.default", b'{"a":1}', b"1 2 3 4 good "), ("b:1-n", "p.default", b'{"a":1}', b"1 2 3 4 good "),
    ]  # fmt: skip
    assert list(left_behind(tmp_path)) == []
    assert files(tmp_path) == []


def test_living_process_keeps_its_answers(tmp_path: Path) -> None:
    """Nobody settles what is being settled."""
    living = Spool(tmp_path, "w1")
    living.put(outcome("a"))
    assert list(left_behind(tmp_path)) == []
    assert files(tmp_path) == ["w1-1.spool"]
    living.close()


def test_settled_answers_leave_the_disk(tmp_path: Path) -> None:
    """The file holds only what the store does not have."""
    living = Spool(tmp_path, "w1")
    a, b = outcome("a"), outcome("b")
    living.put(a)
    living.put(b)
    living.settled(a.grant)
    assert (tmp_path / "w1-1.spool").stat().st_size > 0
    living.settled(b.grant)
    assert (tmp_path / "w1-1.spool").stat().st_size == 0
    living.close()
    assert files(tmp_path) == []


def test_unsettled_answers_outlive_an_orderly_end(tmp_path: Path) -> None:
    """A worker that stops while Redis is away leaves them for the next one."""
    leaving = Spool(tmp_path, "w1")
    leaving.put(outcome("a"))
    leaving.close()
    assert [[o.grant.job_id for o in group] for group in left_behind(tmp_path)] == [["a"]]


def test_long_outage_makes_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file grows for ever, and each goes with the last of its answers."""
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 1)
    living = Spool(tmp_path, "w1")
    outcomes = [outcome(job_id) for job_id in "abc"]
    for one in outcomes:
        living.put(one)
    assert files(tmp_path) == ["w1-1.spool", "w1-2.spool", "w1-3.spool"]
    living.settled(outcomes[1].grant)
    assert files(tmp_path) == ["w1-1.spool", "w1-3.spool"]
    living.settled(outcomes[0].grant)
    living.settled(outcomes[2].grant)
    living.close()
    assert files(tmp_path) == []


def test_half_written_line_costs_itself_only(tmp_path: Path) -> None:
    """The process died in the middle of a write."""
    dead = Spool(tmp_path, "w1")
    dead.put(outcome("a"))
    dead._current.file.write(b'{"job":"b","tok')
    crash(dead)
    (found,) = left_behind(tmp_path)
    assert [o.grant.job_id for o in found] == ["a"]


def test_failures_are_not_kept(tmp_path: Path) -> None:
    """They can be had again; settling them needs no answer on disk."""
    living = Spool(tmp_path, "w1")
    failed = outcome("a", "failed")
    living.put(failed)
    assert (tmp_path / "w1-1.spool").stat().st_size == 0
    living.settled(failed.grant)
    living.close()


def test_answers_are_for_the_owner_only(tmp_path: Path) -> None:
    """They are people's data."""
    folder = tmp_path / "spool"
    living = Spool(folder, "w1")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "w1-1.spool").stat().st_mode) == 0o600
    living.close()


def test_unusable_folder_is_named(tmp_path: Path) -> None:
    """At the start, not when the first answer comes."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"worker\.spool_dir: .*file"):
        Spool(tmp_path / "file", "w1")
