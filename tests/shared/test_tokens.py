"""Estimates of a prompt's tokens: roughly right is enough, far off is not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.chat import encode_request, parse_request
from shared.tokens import IMAGE_TOKENS, estimate_prompt_tokens


def estimate(*messages: dict[str, Any], **fields: Any) -> int:
    request = parse_request({"model": "m", "messages": list(messages), **fields})
    return estimate_prompt_tokens(request, encode_request(request, max_bytes=10**7))


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def image(url: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": url}


def of_text(text: str) -> int:
    """What 200 repetitions of a text add, for one of them times 200."""
    return estimate(user(text * 200)) - estimate(user(""))


@pytest.mark.parametrize(
    ("text", "tokens", "off"),
    [
        # OpenAI, "Hello GPT-4o" (2024-05), section Language tokenization: counts with its vocabulary
        ("Hello, my name is GPT-4o. I'm a new type of language model, it's nice to meet you! ", 24, 0.25),
        ("Hallo, mein Name is GPT-4o. Ich bin ein neues KI-Sprachmodell. Es ist schön, dich kennenzulernen. ",
         29, 0.25),
        ("Привет, меня зовут GPT-4o. Я — новая языковая модель, приятно познакомиться! ", 39, 0.25),
        ("你好，我的名字是GPT-4o。我是一种新型的语言模型，很高兴见到你!", 24, 0.25),
        ("こんにちわ、私の名前はGPT−4oです。私は新しいタイプの言語モデルです、初めまして", 26, 0.25),
        ("안녕하세요, 제 이름은 GPT-4o입니다. 저는 새로운 유형의 언어 모델입니다, 만나서 반갑습니다!", 27, 0.35),
        ("नमस्ते, मेरा नाम जीपीटी-4o है। मैं एक नए प्रकार का भाषा मॉडल हूँ। आपसे मिलकर अच्छा लगा!", 31, 0.4),
        # an example in the test set of infinigence/tokenestimate: Kimi K2
        ("这段数据不是纯文本，而是一种“带长度前缀”（length-prefixed）的二进制 TLV（Tag-Length-Value）或类似结构。"
         "逐字节拆开就能看出规律", 35, 0.35),
        # by rule: one to three digits a token, one token a short word
        ("3.14159 ", 4, 0.6),
        ("word ", 1, 0.25),
    ],
    ids=["english", "german", "russian", "chinese", "japanese", "korean", "hindi", "mixed", "digits", "words"],
)  # fmt: skip
def test_text_counts_by_what_it_is_written_in(text: str, tokens: int, off: float) -> None:
    """Within what vocabularies differ by."""
    assert of_text(text) / 200 == pytest.approx(tokens, rel=off)


def test_json_is_denser_than_prose() -> None:
    """Its signs and digits are tokens of their own."""
    prose = "the rain in spain stays mainly in the plain and so on "
    data = '{"id":17,"ok":true,"at":[1,2,33],"tag":{"a":0.25}},{"b":1}'
    assert of_text(data) / len(data) > 1.5 * of_text(prose) / len(prose)


def test_shortest_prompt_is_some_tokens() -> None:
    """Roles and structure count as well."""
    assert 1 <= estimate(user("")) <= 25


def test_frame_of_a_message_is_a_few_tokens() -> None:
    """However many there are, as JSON they are longer than what is sent to a model."""
    assert estimate(*[user("hi")] * 101) - estimate(user("hi")) == pytest.approx(100 * 5, rel=0.3)


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


def test_image_in_a_list_counts_the_same() -> None:
    """As Ollama writes it: base64 beside the text."""
    tokens = estimate({**user("what is it?"), "images": ["A" * 10**6, "B" * 100]})
    assert 2 * IMAGE_TOKENS < tokens < 2 * IMAGE_TOKENS + 100


def test_each_image_counts() -> None:
    """In whichever message it stands."""
    messages = [user([image({"url": "https://example.org/a.png"})] * 2), user([image({"url": "x"})])]
    assert 3 * IMAGE_TOKENS < estimate(*messages) < 3 * IMAGE_TOKENS + 100


def test_image_without_an_address_counts_as_one() -> None:
    """What the provider makes of it is not ours to say."""
    assert estimate(user([image({})])) > IMAGE_TOKENS


def test_text_that_speaks_of_images_is_text() -> None:
    """Only parts are images."""
    assert estimate(user('the field "image_url" of a part, or "images"')) < 50


@given(st.text(max_size=200), st.text(max_size=50))
def test_more_text_is_never_fewer_tokens(text: str, more: str) -> None:
    """Whatever is in it."""
    assert 1 <= estimate(user(text)) <= estimate(user(text + more))
