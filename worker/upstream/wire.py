"""A wire: the dialect of one family of APIs, as two pure functions and a path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from shared.chat import ChatRequest, Usage


class Completion(NamedTuple):
    """One answer, translated: a ChatCompletion object and what chatq records of it."""

    response: dict[str, Any]
    usage: Usage
    finish_reason: str | None


@dataclass(frozen=True, slots=True)
class Wire:
    """How one API is spoken to.

    Attributes:
        path: Appended to the provider's base URL.
        request_body: (request, model, the provider's extra_body) -> JSON object for the wire. Raises
            CandidateUnfit for what the wire cannot say.
        completion: (JSON object of a 2xx answer, model) -> Completion. Raises UpstreamError for an answer
            that is none.
    """

    path: str
    request_body: Callable[[ChatRequest, str, Mapping[str, Any]], dict[str, Any]]
    completion: Callable[[dict[str, Any], str], Completion]
