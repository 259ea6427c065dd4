"""The error table, dialect by dialect (docs/provider-wire.md §17): data; the first row that fits counts."""

from __future__ import annotations

from worker.dialect import Dialect
from worker.error_answer import ErrorAnswer
from worker.error_table.everywhere import STATUSES, TEXTS
from worker.error_table.gateways import OPENCODE, OPENCODE_REST, OPENROUTER
from worker.error_table.kimi import KIMI, MOONSHOT
from worker.error_table.meaning import Meaning
from worker.error_table.ollama import BUSY, CLOUD, DAEMON
from worker.error_table.on_prem import ON_PREM
from worker.error_table.row import Row
from worker.error_table.vendors import ANTHROPIC, DEEPSEEK, GEMINI, MIMO, OPENAI, XAI

__all__ = ["ERROR_TABLE", "Meaning", "Row", "fitting_row"]

ERROR_TABLE: dict[Dialect, tuple[Row, ...]] = {
    "generic": (BUSY, *ON_PREM, *TEXTS, *STATUSES),
    "ollama": (*DAEMON, *ON_PREM, *TEXTS, *STATUSES),
    "ollama_cloud": (*CLOUD, *TEXTS, *STATUSES),
    "openrouter": (*OPENROUTER, *TEXTS, *STATUSES),
    "opencode": (*OPENCODE, *TEXTS, *OPENCODE_REST, *STATUSES),
    "kimi": (*KIMI, *TEXTS, *STATUSES),
    "moonshot": (*MOONSHOT, *TEXTS, *STATUSES),
    "openai": (*OPENAI, *TEXTS, *STATUSES),
    "gemini": (*GEMINI, *TEXTS, *STATUSES),
    "deepseek": (*DEEPSEEK, *TEXTS, *STATUSES),
    "xai": (*XAI, *TEXTS, *STATUSES),
    "mimo": (*MIMO, *TEXTS, *STATUSES),
    "anthropic": (*ANTHROPIC, *TEXTS, *STATUSES),
}


def fitting_row(dialect: Dialect, answer: ErrorAnswer) -> Row:
    """The row that says what an error answer means; there always is one."""
    return next(row for row in ERROR_TABLE[dialect] if row.fits(answer))
