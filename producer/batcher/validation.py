"""Validation: whether the input of a batch can be run as a whole (openai-wire §7.4). It comes before any submit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from producer.batch.ledger import Ledger
from producer.batch.lines import RawLine
from producer.batch.reader import BadLine, Line
from producer.batcher.lines import read_line
from producer.candidates import find_candidates
from shared.errors import JobRejected
from shared.routing import Router

MAX_ERRORS = 100
"""Errors that are listed; whoever made that many made one mistake."""

MAX_MESSAGE = 300
"""Longest message of one, in characters: it may quote an id or a model's name, and all of them are one field of the
batch's record, of which no more than `batch_record.MAX_FIELD_BYTES` is read."""

Error = dict[str, Any]
"""OpenAI's `{code, message, param, line}`."""

PASSED_ON = "body.models"
"""OpenRouter's own fallbacks: it looks for them, and still it must not go where the caller may not."""

Check = Callable[[str, bool], tuple[str, str] | None]
"""Code and text of what is wrong with asking for a model; None = nothing."""


@dataclass(slots=True)
class Found:
    """What is in an input.

    Attributes:
        total: Lines that are not blank.
        model: What all of them ask for; None = several.
        errors: Why it cannot be run.
    """

    total: int = 0
    model: str | None = None
    errors: list[Error] = field(default_factory=list)


def validate(lines: Iterable[RawLine], endpoint: str, check_model: Check, *, max_lines: int) -> Found:
    """Read a whole input. For a thread."""
    found = Found()
    models: dict[str, tuple[str, str] | None] = {}
    with closing(Ledger()) as ledger:
        for raw in lines:
            if raw.problem is None and not raw.data.strip():
                continue
            found.total += 1
            if found.total > max_lines:
                found.errors = [_too_many(max_lines)]
                return found
            problem = _problem(read_line(raw, endpoint), ledger, models, check_model)
            if problem is not None and len(found.errors) < MAX_ERRORS:
                found.errors.append(problem)
    if not found.total:
        found.errors = [error("empty_file", "the input file has no lines")]
    found.model = next(iter(models)) if len(models) == 1 else None
    return found


def check_with(router: Router, allowed: Collection[str] | None) -> Check:
    """Checks models as a submit would.

    Args:
        allowed: Patterns of the names that the client may ask for; None = all.
    """

    def check(name: str, is_routed: bool) -> tuple[str, str] | None:
        if allowed is not None and not any(fnmatchcase(name, pattern) for pattern in allowed):
            return "model_not_allowed", f"this token may not use model {name!r}"
        try:
            if is_routed and router.group_of(name) is None:
                find_candidates(name, (), router)
        except JobRejected as exc:
            return "model_not_found", str(exc)
        return None

    return check


def error(code: str, message: str, *, param: str | None = None, line: int | None = None) -> Error:
    """An entry of a batch's `errors.data`; a long message is cut."""
    return {"code": code, "message": message[:MAX_MESSAGE], "param": param, "line": line}


def _problem(
    line: Line | BadLine, ledger: Ledger, models: dict[str, tuple[str, str] | None], check_model: Check
) -> Error | None:
    if isinstance(line, BadLine):
        return error(line.code, line.message, line=line.number)
    if not ledger.is_first(line.custom_id):
        text = f"custom_id {line.custom_id!r} was used by an earlier line"
        return error("duplicate_custom_id", text, param="custom_id", line=line.number)
    for param, name in _asked(line.body):
        key = f"{param}:{name}" if param == PASSED_ON else name
        if key not in models:
            models[key] = check_model(name, param != PASSED_ON)
        wrong = models[key]
        if wrong is not None:
            return error(*wrong, param=param, line=line.number)
    return None


def _asked(body: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "body.model", body["model"]
    for place in ("fallbacks", "models"):
        names = body.get(place)
        for name in names if isinstance(names, list) else ():
            if isinstance(name, str):
                yield f"body.{place}", name


def _too_many(max_lines: int) -> Error:
    return error("too_many_tasks", f"the input file has more than {max_lines:,} lines, the limit of a batch")
