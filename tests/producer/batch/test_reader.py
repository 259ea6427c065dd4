"""Input lines: both forms, what is wrong with a line, and lines that are recorded already."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from producer.batch.ledger import Ledger
from producer.batch.lines import Problem, RawLine, read_lines
from producer.batch.reader import BadLine, Line, Reader, RunLines, parse_line
from shared.errors import BatchRefused

MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    ledger = Ledger()
    yield ledger
    ledger.close()


def parse(value: Any, *, model: str | None = None) -> Line | BadLine:
    raw = value if isinstance(value, bytes) else orjson.dumps(value)
    return parse_line(RawLine(7, raw), model=model)


def read(ledger: Ledger, *lines: Any) -> list[Line | BadLine]:
    raw = b"\n".join(line if isinstance(line, bytes) else orjson.dumps(line) for line in lines)
    return list(Reader(read_lines(io.BytesIO(raw), max_bytes=1000), ledger, RunLines("m")))


@pytest.mark.parametrize("url", ["/v1/chat/completions", "/chat/completions"])
def test_batch_line_gives_its_body(url: str) -> None:
    """OpenAI's line, also as files for Azure write it."""
    line = parse(
        {"custom_id": "a", "method": "POST", "url": url, "body": {"model": "m", "messages": MESSAGES}}
    )
    assert isinstance(line, Line)
    assert (line.number, line.custom_id, line.body) == (7, "a", {"model": "m", "messages": MESSAGES})


@pytest.mark.parametrize(
    ("given", "body"),
    [
        ({"prompt": "hi", "model": "m"}, {"messages": MESSAGES, "model": "m"}),
        ({"messages": MESSAGES, "model": "m", "seed": 1}, {"messages": MESSAGES, "model": "m", "seed": 1}),
        ({"prompt": "hi"}, {"messages": MESSAGES, "model": "default"}),
        ({"prompt": "hi", "model": None}, {"messages": MESSAGES, "model": "default"}),
        (
            {"prompt": "hi", "system": "be brief"},
            {"messages": [{"role": "system", "content": "be brief"}, *MESSAGES], "model": "default"},
        ),
        ({"custom_id": "x", "id": 3, "prompt": "hi"}, {"messages": MESSAGES, "model": "default"}),
    ],
)
def test_short_line_becomes_a_body(given: dict[str, Any], body: dict[str, Any]) -> None:
    """Parameters stay, ids do not, and the model of the command line fills in."""
    line = parse(given, model="default")
    assert isinstance(line, Line)
    assert line.body == body


@pytest.mark.parametrize(
    ("given", "custom_id"),
    [({"id": "x"}, "x"), ({"id": 12}, "12"), ({"custom_id": "y", "id": "x"}, "y"), ({}, "line-7")],
)
def test_custom_id_is_the_given_or_the_line(given: dict[str, Any], custom_id: str) -> None:
    """Data sets number their rows; a line without an id is called by its number."""
    assert parse({"prompt": "hi", "model": "m", **given}).custom_id == custom_id


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (b"{oops", "invalid_json_line", "not JSON"),
        (b"[1, 2]", "invalid_json_line", "JSON object"),
        (b'"text"', "invalid_json_line", "JSON object"),
        (b"\xff\xfe{}", "invalid_json_line", "not JSON"),
        (b'{"prompt": "a", "temperature": NaN}', "invalid_json_line", "not JSON"),
        (b"[" * 5000, "invalid_json_line", "not JSON"),
        ({"url": "/v1/embeddings", "body": {}}, "url_mismatch", "/v1/chat/completions"),
        ({"url": ["x"], "body": {}}, "url_mismatch", "/v1/chat/completions"),
        ({"method": "GET", "body": {}}, "invalid_method", "POST"),
        ({"method": "POST", "url": "/v1/chat/completions"}, "invalid_request", "body"),
        ({"body": "text"}, "invalid_request", "body"),
        ({"custom_id": "", "prompt": "a"}, "invalid_custom_id", "1 to 512"),
        ({"custom_id": "x" * 513, "prompt": "a"}, "invalid_custom_id", "1 to 512"),
        ({"id": True, "prompt": "a"}, "invalid_custom_id", "1 to 512"),
        ({"model": "m"}, "invalid_request", '"prompt"'),
        ({"prompt": "a", "messages": MESSAGES}, "invalid_request", "one of"),
        ({"prompt": ""}, "invalid_request", "prompt"),
        ({"prompt": ["a"]}, "invalid_request", "prompt"),
        ({"prompt": "a", "system": 5}, "invalid_request", "system"),
        ({"prompt": "a"}, "invalid_request", "-m MODEL"),
    ],
)
def test_bad_line_says_what_is_wrong(given: Any, code: str, words: str) -> None:
    """A code for programs, a sentence for people, and the number."""
    line = parse(given)
    assert isinstance(line, BadLine)
    assert (line.number, line.code) == (7, code)
    assert words in line.message


@pytest.mark.parametrize("problem", list(Problem))
def test_unreadable_line_is_a_bad_line(problem: Problem) -> None:
    """Too long, or where the file breaks off."""
    line = parse_line(RawLine(7, b"", problem), model=None)
    assert isinstance(line, BadLine)
    assert (line.code, line.custom_id) == (problem.value, "line-7")


def test_bad_line_keeps_its_own_id() -> None:
    """Clients match by custom id in the error file, too."""
    assert parse({"custom_id": "mine", "url": "/v1/embeddings", "body": {}}).custom_id == "mine"


def test_blank_lines_are_skipped_and_counted(ledger: Ledger) -> None:
    """Numbers are those an editor shows."""
    lines = read(ledger, b"", {"prompt": "a"}, b" \r", {"prompt": "b"}, b"\r")
    assert [(line.number, line.custom_id) for line in lines] == [(2, "line-2"), (4, "line-4")]


def test_carriage_returns_do_not_matter(ledger: Ledger) -> None:
    """Files from Windows are read like others."""
    assert all(isinstance(line, Line) for line in read(ledger, b'{"prompt":"a"}\r', b'{"prompt":"b"}\r'))


def test_second_use_of_an_id_is_bad(ledger: Ledger) -> None:
    """The first one counts, also when it is a bad line itself."""
    lines = read(
        ledger,
        {"id": "a", "prompt": "1"},
        {"id": "b", "prompt": ""},
        {"id": "a", "prompt": "2"},
        {"id": "b", "prompt": "3"},
    )
    codes = [line.code if isinstance(line, BadLine) else None for line in lines]
    assert codes == [None, "invalid_request", "duplicate_custom_id", "duplicate_custom_id"]


def test_recorded_lines_are_left_out(ledger: Ledger) -> None:
    """Only what has no record comes by."""
    ledger.note_recorded([(1, "a"), (3, "line-3")])
    lines = read(ledger, {"id": "a", "prompt": "1"}, {"id": "b", "prompt": "2"}, {"prompt": "3"})
    assert [line.number for line in lines] == [2]


def test_recorded_line_still_owns_its_id(ledger: Ledger) -> None:
    """A duplicate of a line that an earlier run answered is a duplicate."""
    ledger.note_recorded([(1, "a")])
    (line,) = read(ledger, {"id": "a", "prompt": "1"}, {"id": "a", "prompt": "2"})
    assert isinstance(line, BadLine)


def test_line_under_another_id_stops_the_run(ledger: Ledger) -> None:
    """The output belongs to another input."""
    ledger.note_recorded([(1, "other")])
    with pytest.raises(BatchRefused, match="line 1 is recorded under another id than 'a'"):
        read(ledger, {"id": "a", "prompt": "1"})


def test_repaired_line_may_have_got_an_id(ledger: Ledger) -> None:
    """It was recorded under its number, because nothing could be read."""
    ledger.note_recorded([(1, "line-1")])
    assert read(ledger, {"id": "a", "prompt": "1"}) == []


def test_input_shorter_than_its_record_stops(ledger: Ledger) -> None:
    """Lines are missing, or it is another file."""
    ledger.note_recorded([(5, "line-5")])
    with pytest.raises(BatchRefused, match="has 2 lines, but line 5 is recorded"):
        read(ledger, {"prompt": "1"}, {"prompt": "2"})


def test_fallbacks_are_for_lines_that_state_none(ledger: Ledger) -> None:
    """In both forms; an empty list is a statement."""
    raw = b"\n".join(
        orjson.dumps(line)
        for line in (
            {"prompt": "a"},
            {"custom_id": "b", "body": {"model": "m", "messages": MESSAGES}},
            {"prompt": "c", "fallbacks": []},
            {"prompt": "d", "fallbacks": ["own"]},
        )
    )
    lines = Reader(read_lines(io.BytesIO(raw), max_bytes=1000), ledger, RunLines("m", ("x", "y")))
    found = [line.body["fallbacks"] for line in lines if isinstance(line, Line)]
    assert found == [["x", "y"], ["x", "y"], [], ["own"]]


@pytest.mark.parametrize(
    ("given", "tags"),
    [
        ({}, ("default",)),
        ({"tags": None}, ("default",)),
        ({"tags": []}, ()),
        ({"tags": ["a", "b"]}, ("a", "b")),
    ],
)
@pytest.mark.parametrize(
    "form", [{"prompt": "hi", "model": "m"}, {"body": {"model": "m", "messages": MESSAGES}}]
)
def test_tags_stand_beside_the_request(
    form: dict[str, Any], given: dict[str, Any], tags: tuple[str, ...]
) -> None:
    """In both forms; those of the command line are for lines that state none, and no body has them."""
    line = parse_line(RawLine(7, orjson.dumps({**form, **given})), model=None, tags=("default",))
    assert isinstance(line, Line)
    assert (line.tags, line.body) == (tags, {"model": "m", "messages": MESSAGES})


@pytest.mark.parametrize("junk", ["a", 7, {"a": 1}, [1], [""], ["x" * 65], ["t"] * 21])
def test_tags_that_are_none_are_told(junk: Any) -> None:
    line = parse({"prompt": "hi", "model": "m", "tags": junk})
    assert isinstance(line, BadLine)
    assert (line.code, line.message) == (
        "invalid_request",
        "tags: must be up to 20 texts of 1 to 64 characters",
    )
