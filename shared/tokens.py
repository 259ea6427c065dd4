"""Estimating a prompt's tokens before a provider counts them.

Vocabularies differ by a third and more, so the estimate only has to be roughly right for what a prompt is
made of: prose, numbers, JSON and code, other scripts. The ledger learns for each model how its counts compare
with ours, and settles every call with the real figure.

The weights lie between three sources: a linear fit over Kimi K2's tokenizer (infinigence/tokenestimate,
estimator.go, mean error 8.5 %), the examples in 20 languages that OpenAI published with GPT-4o's vocabulary
("Hello GPT-4o", 2024-05), and the providers' own rules of thumb: OpenAI 4 letters of English a token,
DeepSeek 0.3 tokens an English and 0.6 a Chinese character.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from shared.chat import ChatRequest

LETTER = 0.25
"""Tokens a letter of a-z, A-Z: OpenAI's rule. The fit has 0.21, from text with much code, whose words are
longer."""

SPACE = 0.03
"""A blank mostly belongs to the word behind it (fit: 0.026)."""

DIGIT = 0.75
"""Three digits a token at OpenAI and DeepSeek, one at Gemini and Qwen, and most numbers are short (fit: 0.80)."""

SIGN = 0.5
"""Punctuation: often two make one token, in JSON (`":"`, `},{`) as in code (fit: 0.57, before that 0.49)."""

ACCENTED = 1.5
"""A letter with an accent breaks its word into pieces, and stands for a language with longer ones than
English. The fit has 5.9 for the first few and as for punctuation for more."""

ALPHABETIC = 0.5
"""Cyrillic, Greek, Arabic, Hebrew, Armenian: fit 0.53 (Russian) and 0.64 (Arabic); GPT-4o 0.5 and 0.4."""

INDIC = 0.6
"""Indic scripts, Thai, Georgian, Khmer …: GPT-4o 0.4 for Hindi, its predecessor over 1."""

TYPOGRAPHIC = 1.0
"""Dashes, curly quotes, arrows, boxes, mathematical signs: one token each."""

HAN = 0.65
"""A Chinese character: fit 0.66, DeepSeek 0.6, GPT-4o 0.7."""

SYLLABIC = 0.85
"""Kana, Hangul, full-width signs: fit 1.09 and 1.05; GPT-4o 0.6 and 0.65."""

EMOJI = 2.0
"""And other characters beyond the first 65,536: one to three tokens."""

MESSAGE_FRAME = 7
"""What a message's frame in JSON weighs above the 4 tokens that it takes in a prompt (OpenAI's cookbook, "How
to count tokens": 3, and 1 for the role): `{"role":"user","content":""},` comes to 11."""

IMAGE_TOKENS = 1_000
"""An image in full detail is 765 tokens at OpenAI and up to 1,600 at Anthropic."""

_DIGITS = b"0123456789"
_SIGNS = bytes(code for code in range(0x80) if not chr(code).isalnum() and code != 0x20)
_OF_FIRST_BYTE: tuple[tuple[bytes, float], ...] = (
    (bytes(range(0xC2, 0xCA)), ACCENTED),  # U+0080: Latin with accents, phonetic signs
    (bytes(range(0xCA, 0xE0)), ALPHABETIC),  # U+0280: Greek, Cyrillic, Armenian, Hebrew, Arabic
    (bytes((0xE0, 0xE1)), INDIC),  # U+0800: Indic scripts, Thai, Georgian, Ethiopic, Khmer
    (bytes((0xE2,)), TYPOGRAPHIC),  # U+2000
    (bytes(range(0xE4, 0xEA)), HAN),  # U+4000
    (bytes((0xE3, *range(0xEA, 0xF0))), SYLLABIC),  # U+3000: kana; U+A000: Hangul; U+F000: full-width signs
    (bytes(range(0xF0, 0xF5)), EMOJI),  # U+10000
)
"""The first byte of a character in UTF-8 tells its block well enough; the bytes behind it weigh nothing."""
_CONTINUING = bytes(range(0x80, 0xC0))


def estimate_prompt_tokens(request: ChatRequest, request_json: bytes) -> int:
    """Tokens of everything that is sent: text, roles, tools; each image counts `IMAGE_TOKENS`.

    Args:
        request: The request.
        request_json: The same as JSON, which holds nearly all there is to count.
    """
    weight, images = _weigh(request_json) - MESSAGE_FRAME * len(request.messages), 0
    if b'"image_url"' in request_json or b'"images"' in request_json:
        for address in _images(request):
            images += 1
            weight -= _weigh(address.encode(errors="replace"))
    return max(1, round(weight)) + images * IMAGE_TOKENS


def _weigh(text: bytes) -> float:
    """Tokens in UTF-8 text, by what its characters are."""
    size = len(text)
    spaces, digits, signs = text.count(b" "), _count(text, _DIGITS), _count(text, _SIGNS)
    weight = spaces * SPACE + digits * DIGIT + signs * SIGN
    letters = size - spaces - digits - signs
    if not text.isascii():
        letters -= _count(text, _CONTINUING)
        for first_bytes, tokens in _OF_FIRST_BYTE:
            characters = _count(text, first_bytes)
            weight += characters * tokens
            letters -= characters
    return weight + letters * LETTER


def _count(text: bytes, wanted: bytes) -> int:
    """How many bytes of a text are among those wanted."""
    return len(text) - len(text.translate(None, wanted))


def _images(request: ChatRequest) -> Iterator[str]:
    """The address or content of each image, in OpenAI's parts and in Ollama's lists; empty where it has none."""
    for message in request.messages:
        content, attached = message.get("content"), message.get("images")
        parts: Iterable[Any] = content if isinstance(content, list) else ()
        yield from (_address(part) for part in parts if part.get("type") == "image_url")
        yield from (str(image) for image in attached) if isinstance(attached, list) else ()


def _address(part: dict[str, Any]) -> str:
    match part.get("image_url"):
        case {"url": str(url)} | str(url):
            return url
        case _:
            return ""
