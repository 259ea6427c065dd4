"""A Responses body as a chat request: what is said in other words, and what cannot be said."""

from __future__ import annotations

from typing import Any

import pytest

from producer.responses.translate import chat_request
from shared.chat import parse_request
from shared.errors import InvalidRequest


def translate(**fields: Any) -> dict[str, Any]:
    chat = chat_request({"model": "m", "input": "hi", **fields})
    parse_request(chat)  # what comes out is taken in
    return chat


def messages(*items: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = translate(input=list(items), **fields)["messages"]
    return found


def call(name: str, call_id: str) -> dict[str, Any]:
    return {"type": "function_call", "name": name, "call_id": call_id, "arguments": "{}"}


def chat_call(name: str, call_id: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": "{}"}}


def said(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": text}


def test_text_is_one_turn_after_the_instructions() -> None:
    assert translate(instructions="be brief") == {
        "model": "m",
        "messages": [said("system", "be brief"), said("user", "hi")],
    }


def test_delivery_is_not_the_providers_affair() -> None:
    fields = {"background": True, "stream": True, "store": False, "metadata": {"a": "b"}, "chatq": {}}
    assert translate(**fields, truncation="auto", include=["reasoning.encrypted_content"]) == translate()


def test_options_get_chats_names() -> None:
    found = translate(
        max_output_tokens=9,
        reasoning={"effort": "low", "summary": "auto"},
        text={"verbosity": "high"},
        temperature=1,
        top_p=0.5,
        service_tier="flex",
        user="u",
        top_logprobs=2,
    )
    assert {name: found[name] for name in found.keys() - {"model", "messages"}} == {
        "max_completion_tokens": 9,
        "reasoning_effort": "low",
        "verbosity": "high",
        "temperature": 1,
        "top_p": 0.5,
        "service_tier": "flex",
        "user": "u",
        "logprobs": True,
        "top_logprobs": 2,
    }


def test_unknown_fields_go_along() -> None:
    assert translate(seed=7, fallbacks=["n"])["fallbacks"] == ["n"]


@pytest.mark.parametrize(
    ("form", "response_format"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "json_object"}),
        (
            {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True},
            {
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
            },
        ),
    ],
)
def test_format_of_the_text(form: dict[str, Any], response_format: dict[str, Any] | None) -> None:
    assert translate(text={"format": form}).get("response_format") == response_format


def test_flat_tools_become_nested() -> None:
    tool: dict[str, Any] = {
        "type": "function",
        "name": "f",
        "description": "d",
        "parameters": {},
        "strict": None,
    }
    found = translate(tools=[tool], tool_choice={"type": "function", "name": "f"}, parallel_tool_calls=False)
    assert found["tools"] == [
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": {}}}
    ]
    assert found["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert found["parallel_tool_calls"] is False


def test_allowed_tools_become_nested() -> None:
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]}
    found = translate(tools=[{"type": "function", "name": "f"}], tool_choice=choice)
    assert found["tool_choice"] == {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "f"}}]},
    }


def test_words_about_tools_stay_home_without_any() -> None:
    """OpenAI refuses them then."""
    assert translate(parallel_tool_calls=True, tool_choice="auto") == translate()


def test_turns_keep_their_order_and_lose_their_thoughts() -> None:
    assert messages(
        said("developer", "be brief"),
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"role": "assistant", "content": [{"type": "output_text", "text": "b", "annotations": []}]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
    ) == [said("developer", "be brief"), said("user", "a"), said("assistant", "b"), said("assistant", "no")]


def test_calls_made_at_once_are_one_turn_with_what_was_said() -> None:
    output = {"type": "function_call_output", "call_id": "1", "output": "sunny"}
    assert messages(
        said("user", "hi"),
        said("assistant", "let me look"),
        call("f", "1"),
        {"type": "reasoning", "summary": []},
        call("g", "2"),
        output,
        {**output, "call_id": "2", "output": [{"type": "input_text", "text": "dry"}]},
        call("f", "3"),
    )[1:] == [
        {**said("assistant", "let me look"), "tool_calls": [chat_call("f", "1"), chat_call("g", "2")]},
        {"role": "tool", "tool_call_id": "1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "2", "content": "dry"},
        {"role": "assistant", "content": None, "tool_calls": [chat_call("f", "3")]},
    ]


def test_words_after_a_call_join_its_turn() -> None:
    """A result must follow its call directly in chat."""
    first, second = said("assistant", "a"), said("assistant", "b")
    found = messages(said("user", "hi"), call("f", "1"), first, second)
    parts = [{"type": "text", "text": text} for text in ("a", "b")]
    assert found[1:] == [{"role": "assistant", "content": parts, "tool_calls": [chat_call("f", "1")]}]


def test_images_files_and_sounds_are_parts() -> None:
    parts = [
        {"type": "input_text", "text": "see"},
        {"type": "input_image", "image_url": "http://x/y.png", "detail": "original"},
        {"type": "input_image", "image_url": "data:image/png;base64,AA"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"},
        {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
    ]
    (message,) = messages({"role": "user", "content": parts})
    assert message["content"] == [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": "http://x/y.png", "detail": "high"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA", "filename": "a.pdf"}},
        {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
    ]


def user(part: Any) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": [part]}]}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"model": 5}, "model"),
        ({"input": 5}, "input"),
        ({"input": ["x"]}, "input"),
        ({"input": ""}, "input"),
        ({"input": [{"type": "reasoning"}]}, "input"),
        ({"input": [{"type": "computer_call"}]}, "input.0.type"),
        ({"input": [{}]}, "input.0.type"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input.0.role"),
        ({"input": [{"role": "user"}]}, "input.0.content"),
        ({"input": [call("f", "1"), {**call("f", "2"), "arguments": {}}]}, "input.1.arguments"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input.0.call_id"),
        ({"input": [{"type": "function_call_output", "call_id": "1", "output": {}}]}, "input.0.output"),
        (user("x"), "input.0.content.0"),
        (user({"type": ["x"]}), "input.0.content.0"),
        (user({"type": "input_text"}), "input.0.content.0.text"),
        (user({"type": "input_image", "file_id": "file-1"}), "input.0.content.0.image_url"),
        (user({"type": "input_file", "file_url": "http://x"}), "input.0.content.0.file_data"),
        (user({"type": "input_audio"}), "input.0.content.0.input_audio"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"tools": [{"type": "function"}]}, "tools.0.name"),
        ({"tools": [{"type": "function", "name": "f", "parameters": []}]}, "tools.0.parameters"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [{"type": "function", "name": "f"}], "tool_choice": "any"}, "tool_choice"),
        ({"tools": [{"type": "function", "name": "f"}], "tool_choice": {"type": "mcp"}}, "tool_choice"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format"),
        (
            {"text": {"format": {"type": "json_schema", "name": "n", "schema": {}, "strict": 1}}},
            "text.format.strict",
        ),
        ({"reasoning": {"effort": "much"}}, "reasoning.effort"),
        ({"metadata": {"k" * 65: "v"}}, f"metadata.{'k' * 65}"),
        ({"temperature": 3}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"stream": 1}, "stream"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"context_management": []}, "context_management"),
        ({"messages": []}, "messages"),
        ({"max_tokens": 5}, "max_tokens"),
    ],
)
def test_what_cannot_be_said_is_named(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        translate(**fields)
    assert caught.value.field == field
    assert str(caught.value).startswith(field)


def test_prompts_are_not_repeated_in_errors() -> None:
    with pytest.raises(InvalidRequest) as caught:
        translate(input=[{"role": "user", "content": {"secret": "s3cret"}}], instructions="s3cret")
    assert "s3cret" not in str(caught.value)
