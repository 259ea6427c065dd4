"""What a simulated model writes: its request's digest, then words; as text, as JSON, or into a tool call."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import orjson

from simulator.demand import WORDS, Demand
from simulator.dice import Dice
from simulator.distribution import Distribution
from simulator.schema import instance

MAX_OUTPUT_TOKENS = 8192
"""Longest answer, in words; a trace of thoughts has the same bound of its own."""
IMAGE_TOKENS = 258
"""What an image adds to the prompt: Gemini's figure for a small one."""

_TEXT = (
    "amber basin cedar delta ember fjord grove harbour island juniper kelp lagoon meadow north opal pine quartz "
    "river slate thicket upland valley willow yarrow zephyr and over under beside beyond through after before "
    "while where bright calm deep even fair gentle high inner just keen late mild narrow open plain quiet rare "
    "slow tall usual vivid warm young drifts follows gathers holds keeps leads moves opens rests turns"
)
_VOCABULARY = _TEXT.split()
_WORDS = list(itertools.islice(itertools.cycle(_VOCABULARY), MAX_OUTPUT_TOKENS + len(_VOCABULARY)))
_CHARS_PER_TOKEN = 4
"""OpenAI's rule of thumb for English text."""
_ANY_OBJECT = {"type": "object", "properties": {"answer": {"type": "string"}}}
"""What JSON looks like when no schema is given."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function the model wants called."""

    ident: str
    """The request's digest; a wire puts its own prefix in front."""
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """One generated answer."""

    text: str
    """`echo <digest> <words>`, bare or as the first string of a JSON text; empty beside a tool call."""
    tokens: int
    """Words after the digest, those of the thoughts included; `echo <digest>` is free, so that a cap of 1 still
    leaves the proof in place."""
    is_cut: bool
    """The request's cap ended it. JSON is broken then, as a model's is; a tool call only has fewer words."""
    thoughts: str = ""
    thought_tokens: int = 0
    tool_call: ToolCall | None = None
    """Its first string argument is `echo <digest> <words>`."""


def compose(
    digest: str, cap_tokens: int | None, lengths: Distribution, dice: Dice, demand: Demand = WORDS
) -> Answer:
    """The answer to one request: the same for every call of it.

    Args:
        cap_tokens: The request's limit on generated tokens, thoughts included; None: no cap.
        lengths: How many words, before the cap; drawn once for the answer and once for its thoughts.

    Raises:
        InvalidRequest: The schema asked for cannot be kept.
    """
    thoughts: list[str] = []
    if demand.is_thinking:
        thoughts, _ = _words(digest, "thoughts", cap_tokens, lengths, dice)
    left = None if cap_tokens is None else cap_tokens - len(thoughts)
    words, is_cut = _words(digest, "answer", left, lengths, dice)
    said = " ".join(("echo", digest, *words))
    tokens = len(words) + len(thoughts)
    if demand is WORDS:
        return Answer(said, tokens, is_cut)
    text, tool_call = _formed(said, digest, demand, is_cut=is_cut)
    return Answer(text, tokens, is_cut, " ".join(thoughts), len(thoughts), tool_call)


def count_tokens(system: str, prompt: str, images: int) -> int:
    """Tokens of a prompt: a quarter of its characters, and so many for each image; at least 1."""
    return max(1, (len(system) + len(prompt)) // _CHARS_PER_TOKEN + images * IMAGE_TOKENS)


def pieces(text: str) -> list[str]:
    """A text in the pieces in which a stream delivers it: word by word."""
    first, *others = text.split(" ")
    return [first, *(f" {word}" for word in others)]


def _words(
    digest: str, label: str, cap_tokens: int | None, lengths: Distribution, dice: Dice
) -> tuple[list[str], bool]:
    """So many words as are drawn and the cap lets through, and whether it cut some."""
    length, offset = dice.roll(digest, label)
    wanted = min(max(1, round(lengths.at(length))), MAX_OUTPUT_TOKENS)
    count = wanted if cap_tokens is None else min(wanted, cap_tokens)
    start = int(offset * len(_VOCABULARY))
    return _WORDS[start : start + count], count < wanted


def _formed(said: str, digest: str, demand: Demand, *, is_cut: bool) -> tuple[str, ToolCall | None]:
    """The words in the form that was asked for."""
    if demand.tool is not None:
        arguments = instance(demand.tool.schema, said)
        return "", ToolCall(digest, demand.tool.name, arguments if isinstance(arguments, dict) else {})
    if not demand.is_json:
        return said, None
    text = orjson.dumps(instance(demand.schema or _ANY_OBJECT, said)).decode()
    return text[:-1] if is_cut else text, None
