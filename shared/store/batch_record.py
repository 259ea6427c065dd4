"""A batch as it stands in Redis: what was asked for, how far it came, and how that is written and read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, NamedTuple

import orjson

from shared.job import Lane
from shared.money import MOST_USD

Status = Literal[
    "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
]
"""OpenAI's words (docs/openai-wire.md §7.3)."""

ENDED = ("failed", "completed", "expired", "cancelled")

MAX_FIELD_BYTES = 256 * 1024
"""Longest field that is read; anybody can write to Redis."""

Kind = Literal["o", "e"]
"""Of a segment: answers (output) or errors."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What was asked for; it never changes.

    Attributes:
        window_s: From the beginning to the deadline.
        input_blob: The input's bytes; they stay until the batch has ended, whatever becomes of the file.
        output_ttl_s: How long result files are kept.
        models: Patterns of the models that its client may ask for; None = all.
        budget_usd: What its client may spend a day, by the token it came with; None = no limit of its own.
        only_blob: Error file of another batch: only the lines that stand in it are run; "" = all.
        retry_of: That batch; "" = none.
    """

    endpoint: str
    input_file_id: str
    input_blob: str
    completion_window: str
    window_s: int
    output_ttl_s: int
    lane: str = Lane.BATCH.value
    metadata: dict[str, str] | None = None
    models: list[str] | None = None
    budget_usd: float | None = None
    webhook_url: str | None = None
    only_blob: str = ""
    retry_of: str = ""

    @property
    def blobs(self) -> list[str]:
        """What it reads."""
        return [blob for blob in (self.input_blob, self.only_blob) if blob]


@dataclass(slots=True)
class Progress:
    """How far a batch came, recorded lines only. Written with the segments, so it says neither more nor less.

    Attributes:
        total: Its lines; 0 until they were counted.
        errors: Lines that failed, by code.
        cost_usd: Of all calls whose cost is known.
        cost_unknown: Calls that may be billed and whose cost nobody knows.
        rate_per_s: Lines a second, lately.
        model: What all lines ask for; None = several.
    """

    total: int = 0
    completed: int = 0
    failed: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    output_bytes: int = 0
    error_bytes: int = 0
    cost_usd: Decimal = Decimal(0)
    cost_unknown: int = 0
    rate_per_s: float = 0.0
    model: str | None = None
    errors: dict[str, int] = field(default_factory=dict)

    def encode(self) -> bytes:
        """As Redis keeps it."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return orjson.dumps({**fields, "cost_usd": str(self.cost_usd)})


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch at one moment. Times are Unix seconds on Redis's clock.

    Attributes:
        times: `in_progress_at` and so on, of the states that it was in.
        errors: What is wrong with the input as a whole: `{code, message, param, line}` each.
    """

    id: str
    client: str
    spec: Spec
    status: str
    created_at: int
    expires_at: int
    times: Mapping[str, int]
    progress: Progress
    errors: list[dict[str, Any]]
    output_file_id: str | None
    error_file_id: str | None

    @property
    def is_ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in ENDED


class Segment(NamedTuple):
    """A part of what a batch has recorded: some whole lines in a blob."""

    kind: Kind
    bytes: int
    blob: str


def spec_fields(spec: Spec) -> dict[str, Any]:
    """A specification as plain data."""
    return {name: getattr(spec, name) for name in spec.__slots__}


def digest_of(spec: Spec) -> bytes:
    """What tells two requests under one id apart: all but what follows from the file and the token."""
    of_caller = ("models", "budget_usd", "input_blob", "only_blob")
    asked = {name: value for name, value in spec_fields(spec).items() if name not in of_caller}
    encoded = orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(encoded, digest_size=16).hexdigest().encode()


def read_segment(text: bytes) -> Segment:
    """An entry of the list of segments: `<o|e> <bytes> <blob>`."""
    kind, size, blob = text.decode(errors="replace").split(" ", 2)
    return Segment("e" if kind == "e" else "o", int(size), blob)


def read_batch(batch_id: str, raw: Any) -> Batch | None:
    """A batch from its hash, which is untrusted; None for what is none."""
    if not isinstance(raw, dict) or any(len(value) > MAX_FIELD_BYTES for value in raw.values()):
        return None
    fields = {name.decode(errors="replace"): value for name, value in raw.items()}
    try:
        spec = _read_spec(orjson.loads(fields["spec"]))
        numbers = {
            name: int(value) for name, value in fields.items() if name.endswith("_at") and len(value) < 16
        }
        return Batch(
            id=batch_id,
            client=fields["client"].decode(),
            spec=spec,
            status=fields["status"].decode(),
            created_at=numbers.pop("created_at"),
            expires_at=numbers.pop("expires_at"),
            times=numbers,
            progress=_read_progress(fields.get("progress")),
            errors=_read_errors(fields.get("errors")),
            output_file_id=fields.get("output_file_id", b"").decode() or None,
            error_file_id=fields.get("error_file_id", b"").decode() or None,
        )
    except (KeyError, TypeError, ValueError, InvalidOperation):
        return None


def _read_spec(value: Any) -> Spec:
    spec = Spec(**value)
    texts = (
        spec.endpoint,
        spec.input_file_id,
        spec.input_blob,
        spec.completion_window,
        spec.lane,
        spec.only_blob,
        spec.retry_of,
    )
    if not all(isinstance(text, str) for text in texts):
        raise TypeError
    return spec


def _read_progress(text: bytes | None) -> Progress:
    if text is None:
        return Progress()
    fields = orjson.loads(text)
    cost = Decimal(fields.pop("cost_usd"))
    if not 0 <= cost < MOST_USD:
        raise ValueError
    return Progress(**fields, cost_usd=cost)


def _read_errors(text: bytes | None) -> list[dict[str, Any]]:
    found = orjson.loads(text) if text else []
    return [one for one in found if isinstance(one, dict)]
