"""A wire: the dialect of one family of APIs, as pure functions, paths and headers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import quote

from shared.chat import ChatRequest
from shared.usage import Usage


class Completion(NamedTuple):
    """One answer, translated: a ChatCompletion object and what chatq records of it."""

    response: dict[str, Any]
    usage: Usage
    finish_reason: str | None


@dataclass(frozen=True, slots=True)
class Wire:
    """How one API is spoken to.

    Attributes:
        path: Appended to the provider's base URL. `{model}` in it stands for the model's name.
        request_body: (request, model, the provider's extra_body) -> JSON object for the wire. Raises
            CandidateUnfit for what the wire cannot say.
        completion: (JSON object of a 2xx answer, model) -> Completion. Raises UpstreamError for an answer
            that is none.
        usage: JSON object of a 2xx answer -> what it says it took, also when it is no answer otherwise.
        key_header: Header that carries the API key; in `Authorization` it comes after `Bearer `.
        headers: Sent with every call; a provider's own headers go over them.
    """

    path: str
    request_body: Callable[[ChatRequest, str, Mapping[str, Any]], dict[str, Any]]
    completion: Callable[[dict[str, Any], str], Completion]
    usage: Callable[[dict[str, Any]], Usage]
    key_header: str = "Authorization"
    headers: Mapping[str, str] = field(default_factory=dict)


def path_for(path: str, model: str) -> str:
    """A wire's path for one model, whose name is percent-encoded: it comes from jobs."""
    return path.replace("{model}", quote(model, safe="")) if "{model}" in path else path
