"""One row of the error table: which answers it is about, and what they mean."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from worker.error_answer import ErrorAnswer
from worker.error_table.meaning import Meaning


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """Attributes: the statuses it is about, the patterns that must all be found in the words, the meaning."""

    statuses: Collection[int]
    patterns: tuple[re.Pattern[str], ...]
    means: Meaning

    def fits(self, answer: ErrorAnswer) -> bool:
        """Whether the answer is one this row is about."""
        return answer.status in self.statuses and all(
            pattern.search(answer.words) for pattern in self.patterns
        )


def row(statuses: int | Collection[int], *patterns: str, means: Meaning) -> Row:
    """A row as it is written in the tables.

    Args:
        statuses: One or more; 200 stands for an error inside a 2xx that names no status.
        patterns: Regular expressions for the lowercase words (`ErrorAnswer.words`); `^` and `$` are a line's.
        means: The meaning.
    """
    if isinstance(statuses, int):
        statuses = (statuses,)
    return Row(statuses, tuple(re.compile(pattern, re.MULTILINE) for pattern in patterns), means)
