"""Route features: each family, sign and tag from the words and parts that mean it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.chat import encode_request, parse_request
from shared.routing import Features, features_of
from shared.routing.features import (
    COMPLEX_WORDS,
    FAMILIES,
    MAX_SCANNED_CHARS,
    MULTIMODAL_TAGS,
    REASONING_WORDS,
    TOOL_TAGS,
    last_user_text,
)

IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}


def features(content: Any, *, tags: tuple[str, ...] = (), **fields: Any) -> Features:
    messages = [{"role": "user", "content": content}]
    request = parse_request({"model": "m", "messages": messages, **fields})
    return features_of(request, encode_request(request, max_bytes=10**7), tags)


@pytest.mark.parametrize(
    ("word", "tags"), [(word, family.tags) for family in FAMILIES for word in family.words], ids=str
)
def test_word_gives_the_tags_of_its_family(word: str, tags: tuple[str, ...]) -> None:
    """In any case, with an ending, and with signs around it."""
    for text in (word, f"Please: {word.upper()}!", f"({word}s)", f"one\n{word}"):
        assert features(text).tags >= set(tags)


@pytest.mark.parametrize(
    "text", ["next stage", "an explanation", "useful information", "credit", "capital", "x"]
)
def test_word_inside_another_gives_nothing(text: str) -> None:
    """A word counts where one begins: `tag`, `plan`, `format`, `edit` and `api` are in these."""
    assert features(text).tags == frozenset()


def test_families_add_up() -> None:
    """A text may speak of several."""
    found = features("Debug the race condition in this JSON parser").tags
    assert found == {tag for family in FAMILIES for tag in family.tags}


@pytest.mark.parametrize("word", REASONING_WORDS)
def test_reasoning_is_asked_for_in_words(word: str) -> None:
    """And else not."""
    assert features(f"Now {word} about it").needs_reasoning
    assert not features("Now think about it").needs_reasoning


@pytest.mark.parametrize("word", COMPLEX_WORDS)
def test_complex_task_is_told_by_its_words(word: str) -> None:
    """And else not."""
    assert features(f"Now {word.upper()} it").is_complex
    assert not features("Now do it").is_complex


@pytest.mark.parametrize("content", [[IMAGE], [{"type": "text", "text": "see"}, {"type": "input_audio"}]])
def test_anything_but_text_is_multimodal(content: list[Any]) -> None:
    """Whatever type it has."""
    found = features(content)
    assert found.is_multimodal
    assert found.tags >= set(MULTIMODAL_TAGS)


@pytest.mark.parametrize("content", ["text", [{"type": "text", "text": "text"}], [{"type": "refusal"}]])
def test_text_is_not_multimodal(content: Any) -> None:
    """As a string or in parts."""
    assert not features(content).is_multimodal


def test_image_of_ollama_is_multimodal() -> None:
    """It stands beside the text."""
    request = parse_request(
        {"model": "m", "messages": [{"role": "user", "content": "x", "images": ["QQ=="]}]}
    )
    assert features_of(request, encode_request(request, max_bytes=10**6)).is_multimodal


def test_tools_are_given_or_were_called() -> None:
    """Both make it a task with tools."""
    given_ones = features("x", tools=[{"type": "function"}])
    called = parse_request(
        {"model": "m", "messages": [{"role": "assistant", "tool_calls": [{"id": "1"}]}, {"role": "user"}]}
    )
    assert given_ones.has_tools and given_ones.tags >= set(TOOL_TAGS)
    assert features_of(called, b"{}").has_tools
    assert not features("x").has_tools


def test_caller_adds_tags() -> None:
    """In any case."""
    assert features("x", tags=("Legal", "legal")).tags == {"legal"}


def test_last_user_message_is_what_counts() -> None:
    """Parts are joined; what stands around it is not looked through."""
    messages = [
        {"role": "system", "content": "classify"},
        {"role": "user", "content": "parse"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "one"}, IMAGE, {"type": "text", "text": "two"}],
        },
        {"role": "assistant", "content": "extract"},
    ]
    assert last_user_text(parse_request({"model": "m", "messages": messages}).messages) == "one\ntwo"


@pytest.mark.parametrize("content", [None, [], [{"type": "text"}], [{"type": "text", "text": 5}]])
def test_message_without_text_has_none(content: Any) -> None:
    """Parts are whatever the caller wrote."""
    assert features(content).text == ""


def test_conversation_without_a_user_has_no_text() -> None:
    """A system prompt alone is a request, too."""
    messages = parse_request({"model": "m", "messages": [{"role": "system", "content": "x"}]}).messages
    assert last_user_text(messages) == ""


def test_both_ends_of_a_long_text_are_looked_through() -> None:
    """And not what is between them."""
    filler = "x " * MAX_SCANNED_CHARS
    assert "fast-flow" in features("classify " + filler).tags
    assert "fast-flow" in features(filler + " classify").tags
    assert features(filler + "classify " + filler).tags == frozenset()


@given(st.text(max_size=300))
def test_any_text_has_features(text: str) -> None:
    """No script, sign or zero byte is too much."""
    found = features(text)
    assert found.text == text
    assert found.input_tokens >= 1
