"""What goes to the provider in its own words, and what is translated all the same."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.responses import Response

from producer.responses.answer import response_object
from producer.responses.native import asked_in
from producer.responses.request import read_request
from shared.chat import parse_request
from shared.errors import InvalidRequest
from shared.native_responses import FIELD
from tests.producer.responses.completions import CREATED_AT, asked, completion, job
from tests.producer.responses.test_events import accumulated, events_of
from tests.worker.upstream.test_native_responses import ANSWERED

HOSTED: dict[str, Any] = {"tools": [{"type": "web_search"}]}


def ask(*wires: str | None, earlier: list[dict[str, Any]] | None = None, **fields: Any) -> dict[str, Any]:
    body = {"model": "m", "input": "hi", **fields}
    chat = asked_in(read_request(body), body, wires=wires, earlier=earlier)  # type: ignore[arg-type]
    parse_request(chat)
    return chat


def test_nothing_is_translated_where_all_speak_the_api() -> None:
    fields = {"instructions": "x", "include": ["reasoning.encrypted_content"], "max_output_tokens": 5}
    chat = ask("responses", **fields, store=True, background=True, chatq={})
    assert chat[FIELD] == {**fields, "input": [{"role": "user", "content": "hi"}]}
    assert chat["max_completion_tokens"] == 5


@pytest.mark.parametrize(
    "fields",
    [
        {"stream": True},
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "http://x"}]}]},
    ],
)
def test_streams_and_images_are_translated_if_they_can_be(fields: dict[str, Any]) -> None:
    assert FIELD not in ask("responses", **fields)
    assert FIELD in ask("responses", **fields, **HOSTED)


def test_one_that_speaks_it_is_enough_for_what_chat_cannot_say() -> None:
    assert FIELD not in ask("openai", "responses")
    assert FIELD in ask("openai", "responses", **HOSTED, fallbacks=["n"])
    with pytest.raises(InvalidRequest, match=r"tools\.0\.type"):
        ask("openai", "ollama", **HOSTED)


def test_groups_read_the_prompt_where_it_can_be_said_in_chat() -> None:
    assert FIELD not in ask("responses", None)
    assert FIELD in ask("responses", None, **HOSTED)


def test_conversation_is_sent_without_ids_that_nobody_there_knows() -> None:
    message = {"type": "message", "role": "user", "content": "a"}
    sealed = {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "x"}
    earlier = [{**message, "id": "msg_1"}, {"type": "reasoning", "id": "rs_1", "summary": []}, sealed]
    chat = ask("responses", earlier=earlier, previous_response_id="resp_1")
    assert chat[FIELD]["input"] == [message, sealed, {"role": "user", "content": "hi"}]
    assert "previous_response_id" not in chat[FIELD]


def final() -> dict[str, Any]:
    answered = completion({"content": "found"})
    answered["chatq"] = {"provider": "p", "response": ANSWERED}
    return response_object(asked(**HOSTED), job(response=answered), created_at=CREATED_AT)


def test_answer_has_the_providers_own_items() -> None:
    found = final()
    Response.model_validate(found)
    assert found["id"] != ANSWERED["id"]
    assert [item["id"] for item in found["output"]] == ["rs_1", "ws_1", "msg_1"]
    assert found["output"][0]["encrypted_content"] == "sealed"
    assert "response" not in found["chatq"]


def test_providers_own_items_are_streamed_whole() -> None:
    done = accumulated(events_of([], final()))
    assert [item.type for item in done.output] == ["reasoning", "web_search_call", "message"]
    assert done.output_text == "found"
