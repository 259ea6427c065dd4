"""Whatever is sent as a Responses body: it is taken in, or refused with the field's name."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from producer.responses.items import shown_items
from producer.responses.native import asked_in
from producer.responses.request import ResponsesRequest, echo, read_request
from producer.responses.translate import input_items
from shared.chat import encode_request, parse_request
from shared.errors import InvalidRequest

WORDS = st.sampled_from(
    [
        "message",
        "function_call",
        "function_call_output",
        "reasoning",
        "user",
        "assistant",
        "function",
        "auto",
        "input_text",
        "input_image",
        "output_text",
        "refusal",
        "json_schema",
        "allowed_tools",
        "required",
        "x",
    ]
)
NAMES = st.sampled_from(
    [
        "type",
        "role",
        "content",
        "call_id",
        "name",
        "arguments",
        "output",
        "text",
        "image_url",
        "refusal",
        "id",
        "format",
        "schema",
        "strict",
        "mode",
        "tools",
        "parameters",
        "summary",
        "file_data",
        "input_audio",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=12,
)
ITEMS = st.lists(st.dictionaries(NAMES, JSON, max_size=6), max_size=4)
FIELDS = st.sampled_from([*ResponsesRequest.model_fields, "messages", "fallbacks", "chatq", "conversation"])


@settings(deadline=None)
@given(
    items=ITEMS | JSON,
    fields=st.dictionaries(FIELDS, JSON, max_size=3),
    wires=st.sets(st.sampled_from(["openai", "responses", None])),
)
def test_any_body_is_taken_in_or_refused(items: Any, fields: dict[str, Any], wires: set[Any]) -> None:
    body = {"model": "m", "input": items, **fields}
    with suppress(InvalidRequest):
        request = read_request(body)
        chat = asked_in(request, body, wires=wires, earlier=None)
        encode_request(parse_request(chat), max_bytes=100_000)
        shown = shown_items(input_items(request), "resp_1")
        assert all(isinstance(item["id"], str) for item in shown)
        orjson.dumps(echo(request))
