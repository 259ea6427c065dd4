"""The text a simulated model writes: its request's digest, then words."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from simulator.dice import Dice
from simulator.distribution import Distribution

MAX_OUTPUT_TOKENS = 8192
"""Longest answer, in words."""

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


@dataclass(frozen=True, slots=True)
class Answer:
    """One generated answer."""

    text: str
    """`echo <digest> <words>`."""
    tokens: int
    """Words after the digest; `echo <digest>` is free, so that a cap of 1 still leaves the proof in place."""
    is_cut: bool
    """The request's cap ended it."""


def compose(digest: str, cap_tokens: int | None, lengths: Distribution, dice: Dice) -> Answer:
    """The answer to one request: the same for every call of it.

    Args:
        cap_tokens: The request's `max_tokens`; None: no cap.
        lengths: How many words, before the cap.
    """
    length, offset = dice.roll(digest, "answer")
    wanted = min(max(1, round(lengths.at(length))), MAX_OUTPUT_TOKENS)
    tokens = wanted if cap_tokens is None else min(wanted, cap_tokens)
    start = int(offset * len(_VOCABULARY))
    words = " ".join(_WORDS[start : start + tokens])
    return Answer(f"echo {digest} {words}", tokens, tokens < wanted)


def count_tokens(*texts: str) -> int:
    """Tokens of a prompt: a quarter of its characters, at least 1."""
    return max(1, sum(map(len, texts)) // _CHARS_PER_TOKEN)
