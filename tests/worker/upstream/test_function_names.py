"""Function names: made safe for the provider, restored for the caller."""

from __future__ import annotations

import re
from typing import Any

import httpx
import orjson
from hypothesis import given
from hypothesis import strategies as st

from tests.worker.upstream.loopback import GOOD, chat_request
from worker.upstream.quirks.function_names import MAX_CHARS, safe

Ask = Any


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def names(tools: list[dict[str, Any]]) -> list[str]:
    return [one["function"]["name"] for one in tools]


def asked(*tools: str, **fields: Any) -> Any:
    return chat_request(tools=[tool(name) for name in tools], **fields)


def test_safe_names_are_left_alone() -> None:
    """The very same request comes back."""
    request = asked("get_weather", "a-b")
    assert safe(request) is request


def test_unsafe_characters_become_underscores() -> None:
    """Dots, blanks, umlauts, an empty name."""
    assert names(safe(asked("fs.read", "größe m", "")).tools or []) == ["fs_read", "gr__e_m", "_"]


def test_names_that_fall_together_are_kept_apart() -> None:
    """A safe name is never taken from the function that has it."""
    request = asked("a.b", "a_b", "a b")
    assert names(safe(request).tools or []) == ["a_b_2", "a_b", "a_b_3"]


def test_long_names_are_cut_and_stay_different() -> None:
    """64 characters is the most that all take."""
    made = names(safe(asked("x" * 80 + "1", "x" * 80 + "2")).tools or [])
    assert [len(name) for name in made] == [MAX_CHARS, MAX_CHARS]
    assert made[0] != made[1]


def test_name_is_changed_wherever_it_stands() -> None:
    """In the tools, the choice, the calls of the history and their results."""
    call = {"id": "c1", **tool("fs.read")}
    history = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "name": "fs.read", "content": "x"},
    ]
    changed = safe(asked("fs.read", tool_choice=tool("fs.read"), messages=history))
    assert b"fs.read" not in orjson.dumps(changed.body())
    assert changed.messages[1]["tool_calls"] == [{"id": "c1", **tool("fs_read")}]


async def test_answer_has_the_callers_names(ask: Ask) -> None:
    """The provider calls `fs_read`; the caller knows it as `fs.read`."""
    message = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", **tool("fs_read")}, {"id": "odd"}],
    }
    reply = {**GOOD, "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    answer = await ask(httpx.Response(200, json=reply), asked("fs.read"), quirks=("safe_function_names",))
    calls = answer.response["choices"][0]["message"]["tool_calls"]
    assert calls == [{"id": "c1", **tool("fs.read")}, {"id": "odd"}]


@given(st.lists(st.text(max_size=80), min_size=1, max_size=8, unique=True))
def test_all_names_become_safe_and_stay_apart(wanted: list[str]) -> None:
    """Whatever the caller calls them."""
    made = names(safe(asked(*wanted)).tools or [])
    assert len(set(made)) == len(wanted)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) for name in made)
