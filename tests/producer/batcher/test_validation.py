"""Validation of an input: each mistake with its code and line, and nothing else refused."""

from __future__ import annotations

import io
from typing import Any

import orjson
import pytest

from producer.batch.lines import read_lines
from producer.batcher.validation import MAX_ERRORS, Found, check_with, validate
from shared.providers import ProviderRegistry
from shared.routing import Router
from shared.settings import Settings
from shared.store.batch_record import MAX_FIELD_BYTES

from .desk import CHAT, RESPONSES, line


def found_in(*lines: bytes, endpoint: str = CHAT, max_lines: int = 1000, wrong: str = "") -> Found:
    def check(name: str, is_routed: bool) -> tuple[str, str] | None:
        return ("model_not_found", "no such model") if name == wrong else None

    raw = read_lines(io.BytesIO(b"".join(lines)), max_bytes=10_000)
    return validate(raw, endpoint, check, max_lines=max_lines)


def framed(**fields: Any) -> bytes:
    good = {"custom_id": "a", "method": "POST", "url": CHAT, "body": {"model": "m", "messages": []}}
    return orjson.dumps({**good, **fields}) + b"\n"


def test_good_input_has_no_errors() -> None:
    """Blank lines do not count, a byte order mark and carriage returns are nothing, nor is a missing line end."""
    found = found_in(b"\xef\xbb\xbf" + line(1)[:-1] + b"\r\n", b"\n", b"  \r\n", line(2)[:-1])
    assert (found.total, found.errors, found.model) == (2, [], "ollama/m")


def test_several_models_are_no_model() -> None:
    assert found_in(line(1), line(2, model="ollama/n")).model is None


def test_errors_are_small_enough_to_be_read_again() -> None:
    """Whatever they quote: an unprintable character is ten in a message."""
    found = found_in(*[framed(custom_id="\U000e0001" * 512)] * (MAX_ERRORS + 1))
    assert len(found.errors) == MAX_ERRORS
    assert len(orjson.dumps(found.errors)) < MAX_FIELD_BYTES


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (b"{oops\n", "invalid_json_line"),
        (b"[]\n", "invalid_json_line"),
        (b"\xff\xfe\n", "invalid_json_line"),
        (b"x" * 20_000 + b"\n", "request_too_large"),
        (framed(custom_id=None), "invalid_custom_id"),
        (framed(custom_id=""), "invalid_custom_id"),
        (framed(custom_id=7), "invalid_custom_id"),
        (framed(custom_id="x" * 513), "invalid_custom_id"),
        (framed(method="GET"), "invalid_method"),
        (framed(method=None), "invalid_method"),
        (framed(url="/v1/embeddings"), "url_mismatch"),
        (framed(url=RESPONSES), "url_mismatch"),
        (framed(url=None), "url_mismatch"),
        (framed(body=None), "invalid_request"),
        (framed(body=[]), "invalid_request"),
        (framed(body={}), "missing_required_parameter"),
        (framed(body={"model": 5}), "missing_required_parameter"),
        (framed(body={"model": "m", "stream": True}), "stream_not_supported"),
        (framed(body={"model": "none"}), "model_not_found"),
        (framed(body={"model": "m", "fallbacks": ["none"]}), "model_not_found"),
    ],
)
def test_mistake_is_told_with_its_line(given: bytes, code: str) -> None:
    """The lines around it are fine."""
    found = found_in(line(1), given, line(3), wrong="none")
    assert [(one["code"], one["line"]) for one in found.errors] == [(code, 2)]
    assert found.errors[0].keys() == {"code", "message", "param", "line"}


def test_addresses_without_version_are_taken() -> None:
    """Files for Azure have them."""
    assert found_in(framed(url="/chat/completions")).errors == []


def test_second_use_of_an_id_is_told() -> None:
    (one,) = found_in(line(1), line(2), line(1)).errors
    assert (one["code"], one["param"], one["line"]) == ("duplicate_custom_id", "custom_id", 3)


@pytest.mark.parametrize("lines", [[], [b"\n", b"  \n"]])
def test_input_without_lines_is_empty(lines: list[bytes]) -> None:
    assert [one["code"] for one in found_in(*lines).errors] == ["empty_file"]


def test_too_many_lines_are_one_error() -> None:
    """What is wrong with single lines does not matter then."""
    found = found_in(b"{\n", line(1), line(2), max_lines=2)
    assert [one["code"] for one in found.errors] == ["too_many_tasks"]
    assert found_in(line(1), line(2), max_lines=2).errors == []


def test_list_of_errors_ends() -> None:
    assert len(found_in(*[b"{\n"] * 500).errors) == MAX_ERRORS


@pytest.mark.parametrize(
    ("name", "allowed", "code"),
    [
        ("ollama/m", None, None),
        ("bare", None, None),
        ("dispatcher", None, None),
        ("openai/gpt", None, "model_not_found"),
        ("ollama/m", ["openrouter/*"], "model_not_allowed"),
        ("openrouter/x", ["openrouter/*"], None),
    ],
)
def test_models_are_checked_as_a_submit_would(
    settings: Settings, registry: ProviderRegistry, name: str, allowed: list[str] | None, code: str | None
) -> None:
    """The token's rules first, then whether the name leads somewhere."""
    problem = check_with(Router.from_settings(settings, registry), allowed)(name, True)
    assert (problem[0] if problem else None) == code


def test_names_that_are_passed_on_are_the_tokens_affair_only(
    settings: Settings, registry: ProviderRegistry
) -> None:
    """OpenRouter's `models` are names of its own: they lead nowhere here, and are allowed or not all the same."""
    router = Router.from_settings(settings, registry)
    assert check_with(router, None)("openai/gpt", False) is None
    problem = check_with(router, ["openrouter/*"])("openai/gpt", False)
    assert problem is not None
    assert problem[0] == "model_not_allowed"
    body = {"model": "m", "messages": [], "models": ["m", "other"]}
    assert [one["param"] for one in found_in(framed(body=body), wrong="other").errors] == ["body.models"]
