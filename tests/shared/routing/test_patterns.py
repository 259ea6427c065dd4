"""Patterns: expressions and texts, and that none of them can hold up a submit."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.routing.features import MAX_SCANNED_CHARS
from shared.routing.patterns import MAX_PROGRAM_STEPS, Pattern, WordSets

AGENTS = r"\b(agent|agents|tool use)\b"


def found(pattern: str, text: str, *, case_sensitive: bool = False) -> bool:
    return Pattern(pattern, case_sensitive=case_sensitive).is_found_in(text, text.lower())


@pytest.mark.parametrize(
    ("pattern", "text", "is_found"),
    [
        # regular expressions: with ( or \b
        (AGENTS, "Write an AGENT for me", True),
        (AGENTS, "tool use, please", True),
        (AGENTS, "agents.", True),
        (AGENTS, "agentic", False),
        (r"\bjson", "some JSON here", True),
        (r"\bjson", "geojson", False),
        (r"(?i)x", "X", True),
        (r"ü(b|p)er", "ÜBER", True),
        # and the same as a text
        ("f(x)", "what is f(x) here", True),
        (r"\b is", "the escape \\b is a boundary", True),
        # texts
        ("json", "GeoJSON", True),
        ("a.c", "abc", False),
        ("a.c", "A.C", True),
        ("Straße", "in der STRASSE", False),
        ("Straße", "in der Straße", True),
        # an empty one never matches
        ("", "anything", False),
        ("", "", False),
    ],
)
def test_pattern_is_an_expression_or_a_text(pattern: str, text: str, is_found: bool) -> None:
    """Told apart by their signs; what is an expression is looked for as it stands, too."""
    assert found(pattern, text) is is_found


@pytest.mark.parametrize(("pattern", "text"), [("JSON", "json"), (r"\bJSON\b", "some json")])
def test_case_counts_when_it_is_told_to(pattern: str, text: str) -> None:
    """For texts and expressions."""
    assert found(pattern, text)
    assert not found(pattern, text, case_sensitive=True)
    assert found(pattern, text.upper(), case_sensitive=True)


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("(", "missing ): ("),
        ("(?=x)", "invalid perl operator: (?="),
        (r"(a)\1", r"invalid escape sequence: \1"),
        ("(a{1001})", "invalid repetition size: {1001}"),
        ("((a{0,100}){0,10})b", "too much to try at each place of a text"),
    ],
)
def test_bad_expression_is_a_text_only(pattern: str, problem: str) -> None:
    """With the reason for whoever wrote it."""
    compiled = Pattern(pattern)
    assert compiled.problem == problem
    assert compiled.is_found_in(f"<{pattern}>", f"<{pattern}>")
    assert not compiled.is_found_in("aaaa x", "aaaa x")


HOSTILE = [
    "(a+a+)+$",
    "(a*)*(b*)*(a*)*q",
    "(x+x+)+y",
    "(a|a|ab)*c",
    "(.*a.{20})z",
    "(.*a.{50})z",
    "((a?){0,100})c",
]


@pytest.mark.parametrize("pattern", HOSTILE)
def test_hostile_expression_takes_no_time(pattern: str) -> None:
    """What makes other engines try for hours is over in well under 0.1 s, usually in 0.1 ms."""
    compiled, text = Pattern(pattern), ("a" * MAX_SCANNED_CHARS)
    started = time.process_time()
    compiled.is_found_in(text, text)
    assert time.process_time() - started < 0.5


@given(st.text(max_size=30), st.text(max_size=100))
def test_any_pattern_can_be_tried(pattern: str, text: str) -> None:
    """Whatever somebody wrote: it is found where it stands, and has a bounded program."""
    compiled = Pattern(f"({pattern}")
    assert compiled.steps <= MAX_PROGRAM_STEPS
    assert isinstance(compiled.is_found_in(text, text.lower()), bool)
    assert not pattern or found(pattern, f"{text}{pattern}{text}", case_sensitive=True)


def test_word_sets_are_told_apart() -> None:
    """By their places, in one pass."""
    sets = WordSets([("tag", "tl;dr"), ("c++",), ("long doc",)])
    assert sets.find("tl;dr of c++") == {0, 1}
    assert sets.find("a long doc_tag") == {0, 2}
    assert sets.find("stage") == frozenset()
