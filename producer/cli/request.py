"""Requests that commands are given: as a file, or as a prompt."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click
import orjson

from shared.errors import InvalidRequest


def read_body(raw: bytes) -> dict[str, Any]:
    """A JSON object from `--request`.

    Raises:
        InvalidRequest: It is none.
    """
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        raise InvalidRequest(f"--request is not JSON: {exc}") from None
    if not isinstance(body, dict):
        raise InvalidRequest("--request must be a JSON object")
    return body


F = TypeVar("F", bound=Callable[..., Any])


def request_options(command: F) -> F:
    """Add `--prompt` and `--request`, read by `requested`."""
    prompt = click.option("--prompt", metavar="TEXT", help="A user message; - is stdin.")
    request = click.option(
        "--request",
        "request_file",
        type=click.File("rb"),
        metavar="FILE",
        help="A JSON request body; - is stdin.",
    )
    return prompt(request(command))


def requested(options: dict[str, Any]) -> dict[str, Any]:
    """The request body that options describe; without any, that of an empty prompt.

    Raises:
        InvalidRequest: The file is no JSON object.
    """
    if options["request_file"] is not None:
        if options["prompt"] is not None:
            raise click.UsageError("give either --prompt or --request")
        return read_body(options["request_file"].read())
    text = sys.stdin.read() if options["prompt"] == "-" else options["prompt"] or ""
    return {"messages": [{"role": "user", "content": text}]}
