"""Estimates of a prompt's tokens: roughly right is enough, far off is not."""

from __future__ import annotations

from typing import Any

import pytest

from shared.chat import encode_request, parse_request
from shared.tokens import BYTES_PER_TOKEN, IMAGE_TOKENS, estimate_prompt_tokens


def estimate(*messages: dict[str, Any], **fields: Any) -> int:
    request = parse_request({"model": "m", "messages": list(messages), **fields})
    return estimate_prompt_tokens(request, encode_request(request, max_bytes=10**7))


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def image(url: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": url}


def test_text_counts_by_its_bytes() -> None:
    """4,000 bytes more are 1,000 tokens more."""
    assert estimate(user("x" * 4040)) - estimate(user("x" * 40)) == 4000 // BYTES_PER_TOKEN


def test_shortest_prompt_is_some_tokens() -> None:
    """Roles and structure count as well."""
    assert 1 <= estimate(user("")) <= 25


def test_wide_characters_count_by_their_bytes() -> None:
    """1,000 Chinese characters are 750 tokens, not 250."""
    assert estimate(user("\u4f60" * 1000)) - estimate(user("")) == 3000 // BYTES_PER_TOKEN


@pytest.mark.parametrize("fields", [{"tools": [{"type": "function", "text": "x" * 4000}]}])
def test_tools_are_part_of_the_prompt(fields: dict[str, Any]) -> None:
    """Providers count their definitions too."""
    assert estimate(user("hi"), **fields) > 1000


@pytest.mark.parametrize("wrap", [lambda url: {"url": url}, lambda url: url], ids=["object", "text"])
def test_image_counts_the_same_whatever_its_size(wrap: Any) -> None:
    """A megabyte of base64 is one image and not 250,000 tokens."""
    url = "data:image/png;base64," + "A" * 10**6
    tokens = estimate(user([{"type": "text", "text": "what is it?"}, image(wrap(url))]))
    assert IMAGE_TOKENS < tokens < IMAGE_TOKENS + 100


def test_each_image_counts() -> None:
    """In whichever message it stands."""
    messages = [user([image({"url": "https://example.org/a.png"})] * 2), user([image({"url": "x"})])]
    assert 3 * IMAGE_TOKENS < estimate(*messages) < 3 * IMAGE_TOKENS + 100


def test_image_without_an_address_counts_as_one() -> None:
    """What the provider makes of it is not ours to say."""
    assert estimate(user([image({})])) > IMAGE_TOKENS


def test_text_that_speaks_of_images_is_text() -> None:
    """Only parts are images."""
    assert estimate(user('the field "image_url" of a part')) < 50
