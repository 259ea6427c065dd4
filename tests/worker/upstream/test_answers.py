"""What no wire reads: bodies that hold no JSON object, and objects too deep to write again."""

from __future__ import annotations

import pytest

from shared.errors import CredentialRejected, RateLimited, UpstreamError, UpstreamUnavailable
from worker.dialect import Dialect
from worker.upstream.answers import MAX_DEPTH, read_answer


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


BROKEN = [
    (b"", "empty_body", "empty"),
    (b" \n\r\n", "empty_body", "empty"),
    (b"not json", "malformed", "not json"),
    (b"<!doctype html><title>502 Bad Gateway</title>", "malformed", "HTML page '502 Bad Gateway'"),
    (b"data: {}\n\ndata: [DONE]", "malformed", "data:"),
    (b'{"a": 1}\n{"a": 2}', "malformed", "not JSON"),
    (b'"text"', "malformed", "not a JSON object"),
    (b"null", "malformed", "not a JSON object"),
    (b"[1, 2]", "malformed", "not a JSON object"),
    (b'{"a": "\xff"}', "malformed", "not JSON"),
    (nested(MAX_DEPTH + 1), "malformed", "deep"),
    (nested(5000), "malformed", "not JSON"),
]


@pytest.mark.parametrize(("body", "code", "text"), BROKEN)
def test_body_without_an_object_fails(body: bytes, code: str, text: str) -> None:
    """Each is a typed error that shows what came instead."""
    with pytest.raises(UpstreamUnavailable) as caught:
        read_answer(body, "generic")
    assert caught.value.code == code
    assert text in str(caught.value)


def test_deep_but_writable_answer_is_read() -> None:
    """The limit is on levels, not on the number of brackets."""
    assert read_answer(nested(MAX_DEPTH - 1), "generic")
    assert read_answer(b'{"a": [' + b"{}," * 500 + b"{}]}", "generic")


def test_page_in_place_of_an_answer_blames_the_provider() -> None:
    """A page comes from a proxy in front; text that is no JSON may be the model's."""
    scopes = []
    for body in (b" <html><title>Sorry</title>", b"not json"):
        with pytest.raises(UpstreamUnavailable) as caught:
            read_answer(body, "generic")
        scopes.append(caught.value.scope)
    assert scopes == ["provider", "model"]


ERRORS: list[tuple[bytes, Dialect, type[UpstreamError]]] = [
    (b'{"object":"error","message":"The request queue is full.","code":503}', "generic", RateLimited),
    (b'{"error":"The request queue is full.","code":503}', "generic", RateLimited),
    (b'{"error":"you have used all available credits","code":403}', "xai", CredentialRejected),
    (b'{"code":"The service is currently unavailable","error":"later"}', "xai", UpstreamUnavailable),
]


@pytest.mark.parametrize(("body", "dialect", "kind"), ERRORS)
def test_error_in_place_of_an_answer_is_classed(
    body: bytes, dialect: Dialect, kind: type[UpstreamError]
) -> None:
    """What stands beside the error counts too, in the dialect of the provider."""
    with pytest.raises(UpstreamError) as caught:
        read_answer(body, dialect)
    assert type(caught.value) is kind
