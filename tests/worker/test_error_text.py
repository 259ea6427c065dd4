"""What an error answer says, made safe to store and to print."""

from __future__ import annotations

import orjson
import pytest

from worker.error_text import MAX_TEXT_CHARS, clean_text, decoded, error_text

TEXTS = [
    ({"error": "plain"}, "plain"),
    ({"error": {"message": "in an object"}}, "in an object"),
    ([{"error": {"message": "in an array"}}], "in an array"),
    ({"message": "at the top"}, "at the top"),
    ({"detail": "from FastAPI"}, "from FastAPI"),
    ({"detail": [{"loc": ["a"]}]}, '"loc"'),
    ({"error": {"type": "overloaded_error"}}, "overloaded_error"),
    ({"error": {"message": {"odd": 1}}}, "odd"),
    (b"just text", "just text"),
    (b"", "no text"),
    (b"<html><head><title> 502 Bad\nGateway </title>", "HTML page '502 Bad"),
    (b"<html>", "HTML page"),
    (
        {
            "error": {
                "message": "Provider returned error",
                "metadata": {"raw": "too long", "provider_name": "X"},
            }
        },
        "Provider returned error (X: too long)",
    ),
]


@pytest.mark.parametrize(("body", "text"), TEXTS)
def test_upstreams_words_are_kept(body: object, text: str) -> None:
    """Whatever form the error has, its own words reach the reader."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    assert text in error_text(decoded(content), content)


def test_text_is_one_short_line() -> None:
    """Control characters cannot break a log, and a page of text is cut."""
    assert clean_text("a\r\n\x1b[31mb\u2028c\x00") == "a [31mb c"
    assert len(clean_text("x" * 10_000)) == MAX_TEXT_CHARS


SECRETS = [
    "sk-abcdef123456",
    "sk-or-v1-0123abc",
    "Bearer abc.def_ghi",
    "tp-abcdef123",
    "xai-abcdef12",
    "sk-ab***cdef",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_keys_are_redacted_by_their_shape(secret: str) -> None:
    """Anything that looks like a key is hidden, wherever it stands."""
    cleaned = clean_text(f"Incorrect key: {secret}, try another")
    assert secret.split()[-1] not in cleaned
    assert "[redacted], try another" in cleaned
