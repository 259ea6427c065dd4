"""What was told of an answer, and what is left to tell."""

from __future__ import annotations

from typing import Any

import pytest

from shared.answer_pieces import Told


def told(*deltas: dict[str, Any], finish_reason: str | None = None) -> Told:
    pieces = Told()
    for delta in deltas:
        pieces.add([{"index": 0, "delta": delta, "finish_reason": None}])
    if finish_reason:
        pieces.add([{"index": 0, "delta": {}, "finish_reason": finish_reason}])
    return pieces


def whole(**message: Any) -> dict[str, Any]:
    message = {"role": "assistant", **message}
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}


def call(arguments: str, **fields: Any) -> dict[str, Any]:
    return {**fields, "function": {"name": "f", "arguments": arguments}}


@pytest.mark.parametrize(
    ("deltas", "message", "rest"),
    [
        ([], {"content": "hello"}, {"role": "assistant", "content": "hello"}),
        ([{"content": "hel"}], {"content": "hello"}, {"content": "lo"}),
        ([{"content": "hel"}, {"content": "lo"}], {"content": "hello"}, {}),
        ([{"content": "Hel"}], {"content": "hello"}, {}),
        ([{"reasoning_content": "h"}], {"reasoning": "hm", "content": ""}, {"reasoning_content": "m"}),
        ([{"content": "a"}], {"content": "a", "images": [1]}, {"images": [1]}),
        ([{"images": [1]}], {"content": None, "images": [1]}, {}),
        (
            [{"tool_calls": [call('{"x"', index=0, id="a")]}],
            {"content": None, "tool_calls": [call('{"x":1}', id="a"), call("{}", id="b")]},
            {
                "tool_calls": [
                    {"index": 0, "function": {"arguments": ":1}"}},
                    {"index": 1, "id": "b", "function": {"name": "f", "arguments": "{}"}},
                ]
            },
        ),
        ([{"tool_calls": [call("{}", index=0, id="a")]}], {"tool_calls": [call("{}", id="a")]}, {}),
    ],
)
def test_rest_is_what_was_not_told(
    deltas: list[dict[str, Any]], message: dict[str, Any], rest: dict[str, Any]
) -> None:
    """Ends of texts, whole fields, and nothing twice; another text than was told is not told again."""
    (choice,) = told(*deltas).rest(whole(**message))
    assert choice == {"index": 0, "delta": rest, "finish_reason": "stop"}


def test_answer_that_was_not_told_comes_with_its_logprobs() -> None:
    answer = whole(content="a")
    answer["choices"][0]["logprobs"] = {"content": [{"token": "a", "logprob": -0.1}]}
    (choice,) = told().rest(answer)
    assert choice["logprobs"] == answer["choices"][0]["logprobs"]


@pytest.mark.parametrize("fields", [{"index": []}, {"message": {"tool_calls": ["x", None]}}])
def test_foreign_fields_of_an_answer_are_passed_over(fields: dict[str, Any]) -> None:
    """An answer that is paid for is not lost for them."""
    (choice,) = told().rest({"choices": [{**whole(content="a")["choices"][0], **fields}]})
    assert choice["index"] == 0
    assert "tool_calls" not in choice["delta"]


def test_finished_answer_has_no_rest() -> None:
    assert told({"content": "hi"}, finish_reason="stop").rest(whole(content="hi")) == []


def test_role_comes_with_the_first_piece_of_each_choice() -> None:
    pieces = Told()
    first, second = ([{"index": index, "delta": {"content": "a"}}] for index in (0, 1))
    again = [{"index": 0, "delta": {"content": "b"}}]
    for choices in (first, second, again):
        pieces.add(choices)
    assert [list(choices[0]["delta"]) for choices in (first, second, again)] == [
        ["role", "content"],
        ["role", "content"],
        ["content"],
    ]


@pytest.mark.parametrize(
    "response", [{}, {"choices": None}, {"choices": [None]}, {"choices": [{"message": 1}]}]
)
def test_what_is_no_answer_has_no_rest(response: dict[str, Any]) -> None:
    assert told({"content": "a"}).rest(response) == []
