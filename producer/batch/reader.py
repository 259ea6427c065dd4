"""The reader: turns input lines into chat requests, and what is wrong with a line into a record of it.

A line is an OpenAI batch line (`custom_id`, `method`, `url`, `body`), or a short one: `prompt` or `messages` with
optional `id`, `system`, `model` and parameters. Both may have `tags` beside that. Rules and codes: openai-wire
§7.4, §7.5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from producer.batch.ledger import Ledger, id_hash
from producer.batch.lines import Problem, RawLine
from producer.submission import check_tags
from shared.errors import BatchRefused, InvalidRequest

URLS = ("/v1/chat/completions", "/chat/completions")
"""The endpoint; files written for Azure leave out `/v1`."""

MAX_CUSTOM_ID = 512
"""Longest custom id, in characters: ids of lines in flight stay in memory."""


@dataclass(frozen=True, slots=True)
class Line:
    """A readable line; whether its request is valid is the producer's to say."""

    number: int
    custom_id: str
    body: dict[str, Any]
    size: int
    """Bytes in the file."""
    tags: tuple[str, ...] = ()
    """What the rules of groups may ask for."""
    asked: Mapping[str, Any] | None = None
    """What the answer repeats of the request, where its shape wants that."""


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot become a request."""

    number: int
    custom_id: str
    code: str
    message: str


_PROBLEMS = {
    Problem.TOO_LONG: "the line is longer than any request may be",
    Problem.UNREADABLE: "the input is damaged here and cannot be read further; repair it, then --retry-failed",
}


class _Bad(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def default_id(number: int) -> str:
    """The custom id of a line that states none."""
    return f"line-{number}"


@dataclass(frozen=True, slots=True)
class RunLines:
    """Reads the lines of `chatq run`.

    Attributes:
        model: For lines that name none.
        fallbacks: Models to go on with, for lines that state none.
        tags: For lines that state none.
    """

    model: str | None
    fallbacks: Sequence[str] = ()
    tags: Sequence[str] = ()

    def __call__(self, raw: RawLine) -> Line | BadLine:
        """Read one line that is not blank."""
        line = parse_line(raw, model=self.model, tags=tuple(self.tags))
        if self.fallbacks and isinstance(line, Line):
            line.body.setdefault("fallbacks", list(self.fallbacks))
        return line


class Reader:
    """Iterates over the lines that are not recorded yet, in file order.

    Args:
        ledger: Recorded lines; also used to find duplicate ids.
        parse: Reads one line that is not blank.
    """

    def __init__(
        self, lines: Iterable[RawLine], ledger: Ledger, parse: Callable[[RawLine], Line | BadLine]
    ) -> None:
        self._lines = lines
        self._ledger = ledger
        self._parse = parse
        self.count = 0
        """Lines that were not blank, so far."""

    def __iter__(self) -> Iterator[Line | BadLine]:
        """Yield lines.

        Raises:
            BatchRefused: The input is not the one that the recorded lines came from.
        """
        number = self.count = 0
        for raw in self._lines:
            number = raw.number
            if raw.problem is None and not raw.data.strip():
                continue
            self.count += 1
            line = self._parse(raw)
            if not self._ledger.is_first(line.custom_id):
                text = f"custom_id {line.custom_id!r} was used by an earlier line"
                line = BadLine(number, line.custom_id, "duplicate_custom_id", text)
            if not self._is_recorded(line):
                yield line
        if number < self._ledger.last_recorded:
            raise BatchRefused(
                f"the input has {number:,} lines, but line {self._ledger.last_recorded:,} is recorded: "
                "it is not the input this output came from; choose another -o, or --restart"
            )

    def _is_recorded(self, line: Line | BadLine) -> bool:
        recorded = self._ledger.recorded_hash(line.number)
        if recorded is None:
            return False
        # A line recorded without an id of its own may have got one since: somebody repaired it.
        if recorded not in (id_hash(line.custom_id), id_hash(default_id(line.number))):
            raise BatchRefused(
                f"line {line.number:,} is recorded under another id than {line.custom_id!r}: the input changed; "
                "choose another -o, or --restart"
            )
        return True


def parse_line(raw: RawLine, *, model: str | None, tags: tuple[str, ...] = ()) -> Line | BadLine:
    """Read one line that is not blank.

    Args:
        model: For a line that names none.
        tags: For a line that states none.
    """
    custom_id = default_id(raw.number)
    try:
        fields = _decode(raw)
        custom_id = _custom_id(fields) or custom_id
        given_tags = _tags(fields)
        body = _batch_body(fields) if fields.keys() & {"body", "url", "method"} else _short_body(fields)
        if body.get("model") in (None, ""):
            body["model"] = _required_model(model)
    except _Bad as exc:
        return BadLine(raw.number, custom_id, exc.code, str(exc))
    return Line(raw.number, custom_id, body, len(raw.data), tags if given_tags is None else given_tags)


def _decode(raw: RawLine) -> dict[str, Any]:
    if raw.problem is not None:
        raise _Bad(raw.problem.value, _PROBLEMS[raw.problem])
    try:
        fields = orjson.loads(raw.data)
    except orjson.JSONDecodeError as exc:
        raise _Bad("invalid_json_line", f"not JSON: {exc}") from None
    if not isinstance(fields, dict):
        raise _Bad("invalid_json_line", "must be a JSON object")
    return fields


def _custom_id(fields: dict[str, Any]) -> str | None:
    """Take the line's own id out of the fields; data sets number their rows, so `id` may be a number."""
    short, given = fields.pop("id", None), fields.pop("custom_id", None)
    if given is None and short is not None:
        given = str(short) if type(short) is int else short
    if given is None:
        return None
    if not isinstance(given, str) or not 0 < len(given) <= MAX_CUSTOM_ID:
        raise _Bad("invalid_custom_id", f"its id must be a text of 1 to {MAX_CUSTOM_ID} characters")
    return given


def _tags(fields: dict[str, Any]) -> tuple[str, ...] | None:
    """Take the line's tags out of the fields; None = it states none."""
    given = fields.pop("tags", None)
    try:
        return None if given is None else check_tags(given)
    except InvalidRequest as exc:
        raise _Bad(exc.code, str(exc)) from None


def _batch_body(fields: dict[str, Any]) -> dict[str, Any]:
    if fields.get("method", "POST") != "POST":
        raise _Bad("invalid_method", "method: must be POST")
    url = fields.get("url", URLS[0])
    if url not in URLS:
        raise _Bad("url_mismatch", f"url: must be {URLS[0]}, the only endpoint there is")
    body = fields.get("body")
    if not isinstance(body, dict):
        raise _Bad("invalid_request", "body: must be a JSON object")
    return body


def _short_body(fields: dict[str, Any]) -> dict[str, Any]:
    if ("prompt" in fields) == ("messages" in fields):
        raise _Bad("invalid_request", 'must have one of "body", "prompt" and "messages"')
    system = fields.pop("system", None)
    if system is not None and not isinstance(system, str):
        raise _Bad("invalid_request", "system: must be a text")
    if "prompt" in fields:
        prompt = fields.pop("prompt")
        if not isinstance(prompt, str) or not prompt:
            raise _Bad("invalid_request", "prompt: must be a text that is not empty")
        fields["messages"] = [{"role": "user", "content": prompt}]
    if system and isinstance(fields["messages"], list):
        fields["messages"].insert(0, {"role": "system", "content": system})
    return fields


def _required_model(model: str | None) -> str:
    if not model:
        raise _Bad("invalid_request", "model: the line names none; add one, or run with -m MODEL")
    return model
