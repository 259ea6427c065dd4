"""What a quirk can do: change the request, the body on the wire, the answer or its pieces, send the job's id."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shared.chat import ChatRequest
from shared.settings import Wire as WireName
from worker.upstream.deltas import Choice
from worker.upstream.wire import Completion

ChangeRequest = Callable[[ChatRequest], ChatRequest]
"""The request as this provider wants it; the same object where it is right already."""

ChangeBody = Callable[[dict[str, Any], ChatRequest], None]
"""Changes the body on the wire in place. What lies inside belongs to the request: replace it, never change it."""

ChangeDelta = Callable[[list[Choice], ChatRequest], None]
"""Changes a piece of a streamed answer in place, as the answer's own change would."""

ChangeAnswer = Callable[[Completion, ChatRequest], Completion]
"""The answer as the caller expects it, given the caller's own request."""


@dataclass(frozen=True, slots=True)
class Quirk:
    """One piece; all parts are pure.

    Attributes:
        request: Applied before the wire translates.
        body: Applied after it.
        answer: Applied to what the wire read from the answer.
        delta: Applied to each piece of a streamed answer.
        job_header: Header that must hold a stable id of the conversation; chatq sends the job's id.
        wires: The wires whose words it speaks; on others it does nothing. None: every wire.
    """

    request: ChangeRequest | None = None
    body: ChangeBody | None = None
    answer: ChangeAnswer | None = None
    delta: ChangeDelta | None = None
    job_header: str | None = None
    wires: frozenset[WireName] | None = None
