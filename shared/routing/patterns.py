"""Texts and regular expressions that are looked for in a prompt, in time that grows with its length only.

Patterns are written by whoever may define a group, so an engine that backtracks is out of the question: one unlucky
pattern would hold up every submit. RE2 has no such patterns; it refuses those it cannot run in linear time.
"""

from __future__ import annotations

from collections.abc import Iterable

import re2  # type: ignore[import-untyped]

MAX_PROGRAM_STEPS = 500
"""Longest program of one pattern, in RE2's instructions; nested repetitions make long ones. At worst RE2
takes 4 ns for each instruction and byte (measured with hostile patterns), and usually 4 ns a byte whatever
their number."""

SIGNS_OF_AN_EXPRESSION = ("(", r"\b")
"""What makes a pattern be tried as a regular expression."""


def _options(*, case_sensitive: bool) -> re2.Options:
    options = re2.Options()
    options.case_sensitive = case_sensitive
    options.never_capture = True  # whether, not where
    options.log_errors = False  # they are reported with the group
    return options


class Pattern:
    """A pattern of a rule: a text to be found, and a regular expression too if it looks like one.

    Attributes:
        problem: Why it is no regular expression although it looks like one; None = it is, or need not be.
        steps: Length of its program, in RE2's instructions; 0 = it is only a text.
    """

    __slots__ = ("_case_sensitive", "_expression", "_text", "problem", "steps")

    def __init__(
        self, text: str, *, case_sensitive: bool = False, max_steps: int = MAX_PROGRAM_STEPS
    ) -> None:
        """Compile a pattern; an expression with a longer program than `max_steps` remains a text."""
        self._case_sensitive = case_sensitive
        self._text = text if case_sensitive else text.lower()
        self._expression: re2._Regexp | None = None
        self.problem: str | None = None
        self.steps = 0
        if not any(sign in text for sign in SIGNS_OF_AN_EXPRESSION):
            return
        try:
            expression = re2.compile(text, _options(case_sensitive=case_sensitive))
        except re2.error as exc:
            self.problem = _reason(exc)
            return
        if expression.programsize > min(max_steps, MAX_PROGRAM_STEPS):
            self.problem = "too much to try at each place of a text"
        else:
            self._expression, self.steps = expression, expression.programsize

    def is_found_in(self, text: str, lowered: str) -> bool:
        """Whether it occurs in a text; an empty pattern never does.

        Args:
            text: The text.
            lowered: The same in lower case.
        """
        if not self._text:
            return False
        if self._expression is not None and self._expression.search(text.encode(errors="replace")):
            return True
        return self._text in (text if self._case_sensitive else lowered)


class WordSets:
    """Sets of words, all looked for in one pass over a text.

    A word counts where one begins: `tag` is found in `tags` and `tagging`, and not in `stage`.
    """

    def __init__(self, sets: Iterable[Iterable[str]]) -> None:
        """Compile the sets, whose words are in lower case."""
        self._set = re2.Set.SearchSet(_options(case_sensitive=True))
        for words in sets:
            self._set.Add("(?:^|[^a-z0-9])(?:" + "|".join(map(re2.escape, words)) + ")")
        self._set.Compile()

    def find(self, lowered: str) -> frozenset[int]:
        """The places of the sets of which at least one word occurs in a text in lower case."""
        return frozenset(self._set.Match(lowered.encode(errors="replace")) or ())


def _reason(exc: Exception) -> str:
    """RE2's words, which quote a part of the pattern."""
    said = exc.args[0] if exc.args else ""
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said)
