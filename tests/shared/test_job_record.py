"""What stands beside a request: what is written is read, and junk is told as such."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from shared.job import Candidate
from shared.job_record import job_record, read_candidates, read_selection, selection_fields
from shared.routing import Selection

HERE, THERE = Candidate("p", "m"), Candidate("q", "n")
SELECTION = Selection(
    "g", ("p/a", "inner"), ("inner",), True, (HERE,), 10, 30.0, 0.0, chain=("outer (rule)",), rest=(THERE,)
)


def written(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = orjson.loads(orjson.dumps(selection_fields(SELECTION, ["urgent"])))
    return {**fields, **changes}


def test_wanted_rating_is_read_as_it_was_written() -> None:
    assert read_selection(written(), [HERE, THERE]) == (SELECTION, ("urgent",))


@pytest.mark.parametrize(
    "junk",
    [
        None,
        [],
        {},
        written(group=1),
        written(selectors=0),
        written(selectors=3),
        written(scale=1),
        written(scale=10**9),
        written(rest=[["q"]]),
        written(rest="q/n"),
        written(rest=[["q", "n"]] * 1000),
        written(timeout_s="soon"),
        written(timeout_s=-1),
        written(cache_s=1e308),
        written(targets=[]),
        written(targets=["m"] * 16),
        written(has_fallbacks="no"),
        written(tags=None),
    ],
)
def test_junk_is_no_wanted_rating(junk: Any) -> None:
    with pytest.raises(ValueError, match="cq_info"):
        read_selection(junk, [HERE, THERE])


@pytest.mark.parametrize("junk", [None, "p/m", {}, [["p"]], [["p", 1]], [["p", "m", "x"]], ["pm"]])
def test_junk_is_no_list_of_candidates(junk: Any) -> None:
    with pytest.raises(ValueError, match="candidates"):
        read_candidates(junk)


def test_only_what_was_given_is_there() -> None:
    assert set(job_record("m", [["p", "m"]], client="c")) == {"model", "candidates", "client"}
    record = job_record("m", [], client="c", source="s", batch="b", stream=True, webhook_url="http://h")
    assert record == {
        "model": "m", "candidates": [], "client": "c", "source": "s", "batch": "b", "stream": True,
        "webhook": "http://h",
    }  # fmt: skip
