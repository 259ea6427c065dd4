"""Every quirk: what a request becomes by it, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import httpx
import orjson
import pytest

from shared.settings.builtin_models import BUILTIN_MODELS
from shared.settings.builtin_providers import BUILTIN_PROVIDERS
from shared.settings.quirk_names import QUIRKS
from tests.worker.upstream.loopback import GOOD, chat_request
from worker.upstream.quirks import QUIRK_TABLE
from worker.upstream.quirks.messages import ENGLISH, JSON

Ask = Any

HI = {"role": "user", "content": "hi"}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}


def asks_json(*texts: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": text} for text in texts]
    return {"messages": messages, "response_format": {"type": "json_object"}}


def turns(*messages: dict[str, Any]) -> dict[str, Any]:
    return {"messages": list(messages)}


def turn(**fields: Any) -> dict[str, Any]:
    """An assistant's turn with a tool call."""
    return {"role": "assistant", "content": "", "tool_calls": [CALL], **fields}


def parts(*texts: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text} for text in texts]


IMAGE = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}
SYSTEM = {"role": "system", "content": "Be brief."}
SAID = {"role": "assistant", "content": "a"}

CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("max_completion_tokens", {"max_tokens": 5}, {"max_completion_tokens": 5}),
    ("max_completion_tokens", {"max_completion_tokens": 5}, {"max_completion_tokens": 5}),
    ("max_completion_tokens", {"max_tokens": 5, "max_completion_tokens": 6}, {"max_completion_tokens": 6}),
    ("max_tokens", {"max_completion_tokens": 5}, {"max_tokens": 5}),
    ("fixed_sampling", {"temperature": 0.1, "top_p": 0.5, "top_k": 3, "presence_penalty": 1}, {}),
    ("fixed_sampling", {"seed": 1}, {"seed": 1}),
    ("one_choice", {"n": 2}, {}),
    ("no_stop", {"stop": ["x"]}, {}),
    ("no_penalties", {"frequency_penalty": 1, "presence_penalty": 1, "temperature": 1}, {"temperature": 1}),
    ("no_seed", {"seed": 1}, {}),
    ("auto_tool_choice", {"tools": [CALL], "tool_choice": "required"}, {"tools": [CALL]}),
    ("auto_tool_choice", {"tools": [CALL], "tool_choice": "none"}, {}),
    ("auto_tool_choice", {"tools": [CALL]}, {"tools": [CALL]}),
    ("think_as_effort", {"think": False}, {"reasoning_effort": "none"}),
    ("think_as_effort", {"think": True}, {}),
    ("think_as_effort", {"think": "high"}, {"reasoning_effort": "high"}),
    ("think_as_reasoning", {"think": False, "reasoning_effort": "low"}, {"reasoning": {"effort": "none"}}),
    ("think_as_reasoning", {"think": True}, {"reasoning": {"enabled": True}}),
    ("think_as_reasoning", {"think": True, "reasoning_effort": "low"}, {"reasoning_effort": "low"}),
    ("think_as_reasoning", {"think": False, "reasoning": {"max_tokens": 9}}, {"reasoning": {"max_tokens": 9}}),
    ("think_as_reasoning", {}, {}),
    ("think_as_type", {"think": False}, {"thinking": {"type": "disabled"}}),
    ("think_as_type", {"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
    ("think_as_type", {"think": "max"}, {"thinking": {"type": "enabled"}, "reasoning_effort": "max"}),
    ("think_as_type", {"think": False, "reasoning_effort": "high"}, {"thinking": {"type": "disabled"}}),
    ("think_as_type", {"think": True, "thinking": {"type": "disabled"}}, {"thinking": {"type": "disabled"}}),
    ("think_as_type", {}, {}),
    ("think_as_type_only", {"reasoning_effort": "high"}, {"thinking": {"type": "enabled"}}),
    ("think_as_type_only", {"think": False}, {"thinking": {"type": "disabled"}}),
    ("think_as_template", {"think": False}, {"chat_template_kwargs": {"enable_thinking": False}}),
    (
        "think_as_template",
        {"think": True, "chat_template_kwargs": {"a": 1}},
        {"chat_template_kwargs": {"enable_thinking": True, "a": 1}},
    ),
    ("effort_of_k3", {"reasoning_effort": "none"}, {}),
    ("effort_of_k3", {"reasoning_effort": "medium"}, {"reasoning_effort": "high"}),
    ("effort_of_k3", {"reasoning_effort": "low"}, {"reasoning_effort": "low"}),
    ("reasoning_sent_back", turns(HI, turn()), turns(HI, turn(reasoning_content=""))),
    ("reasoning_sent_back", turns(HI, turn(reasoning="why")), turns(HI, turn(reasoning_content="why"))),
    ("reasoning_sent_back", turns(HI, turn(reasoning_content="why")), turns(HI, turn(reasoning_content="why"))),
    ("reasoning_sent_back", turns(SAID), turns(SAID)),
    (
        "reasoning_stripped",
        turns({**SAID, "reasoning_content": "x", "reasoning_details": [], "thinking": "y"}),
        turns(SAID),
    ),
    ("text_beside_tool_calls", turns(turn(content=None)), turns(turn(content=""))),
    ("text_beside_tool_calls", turns(turn(content="x"), HI), turns(turn(content="x"), HI)),
    ("flat_text", turns({**HI, "content": parts("a", "", "b")}), turns({**HI, "content": "a\nb"})),
    (
        "flat_text",
        turns({"role": "user", "content": [*parts("", "a"), IMAGE]}),
        turns({"role": "user", "content": [*parts("a"), IMAGE]}),
    ),
    ("flat_text", turns({"role": "user", "content": [IMAGE]}), turns({"role": "user", "content": [IMAGE]})),
    ("english_system_prompt", turns(HI), turns({"role": "system", "content": ENGLISH}, HI)),
    ("english_system_prompt", turns(SYSTEM, HI), turns(SYSTEM, HI)),
    ("json_word", asks_json("Give JSON."), asks_json("Give JSON.")),
    (
        "json_word",
        {**asks_json("x"), "messages": [SYSTEM, HI]},
        {**asks_json("x"), "messages": [SYSTEM, {"role": "system", "content": JSON}, HI]},
    ),
    ("json_word", {"response_format": {"type": "text"}}, {"response_format": {"type": "text"}}),
    (
        "json_word",
        {**asks_json(), "messages": [{"role": "user", "content": [IMAGE, *parts("as Json")]}]},
        {**asks_json(), "messages": [{"role": "user", "content": [IMAGE, *parts("as Json")]}]},
    ),
]  # fmt: skip


async def sent_by(ask: Ask, fields: dict[str, Any], *quirks: str) -> dict[str, Any]:
    """What reaches the provider of a request with these fields."""
    bodies: list[dict[str, Any]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        bodies.append(orjson.loads(request.content))
        return httpx.Response(200, json=GOOD)

    await ask(handler, chat_request(**fields), quirks=quirks)
    return bodies[0]


@pytest.mark.parametrize(("quirk", "fields", "sent"), CASES)
async def test_quirk_changes_what_is_sent(
    ask: Ask, quirk: str, fields: dict[str, Any], sent: dict[str, Any]
) -> None:
    """Exactly what its name says, and nothing in the caller's own request."""
    before = orjson.dumps(fields)
    assert await sent_by(ask, fields, quirk) == {"model": "m", "messages": [HI], "stream": False, **sent}
    assert orjson.dumps(fields) == before


async def test_quirks_work_together(ask: Ask) -> None:
    """In the order of the list, each on what the one before has made."""
    quirks = ("max_completion_tokens", "fixed_sampling", "english_system_prompt", "think_as_type_only")
    fields = {"max_tokens": 5, "temperature": 0, "think": "low"}
    assert await sent_by(ask, fields, *quirks) == {
        "model": "m", "messages": [{"role": "system", "content": ENGLISH}, HI], "stream": False,
        "max_completion_tokens": 5, "thinking": {"type": "enabled"},
    }  # fmt: skip


async def test_reasoning_beside_output_is_added(ask: Ask) -> None:
    """xAI's `completion_tokens` leaves the reasoning out; it is paid for."""
    usage = {
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "completion_tokens_details": {"reasoning_tokens": 40},
    }
    reply = httpx.Response(200, json={**GOOD, "usage": usage})
    plain, quirky = [(await ask(reply, quirks=quirks)).usage for quirks in ((), ("reasoning_beside_output",))]
    assert (plain["output_total"], quirky["output_total"], quirky["reasoning"]) == (2, 42, 40)


async def test_unknown_reasoning_adds_nothing(ask: Ask) -> None:
    """An answer without a count stays unknown."""
    answer = await ask(httpx.Response(200, json=GOOD), quirks=("reasoning_beside_output",))
    assert answer.usage["output_total"] == 2


async def test_quirk_of_another_wire_does_nothing(ask: Ask) -> None:
    """A provider of several wires lists the quirks of all of them."""
    bodies = []

    def handler(request: httpx.Request) -> httpx.Response:
        bodies.append(orjson.loads(request.content))
        return httpx.Response(200, json={"message": {"content": "x"}, "done": True})

    await ask(handler, chat_request(max_tokens=5), wire="ollama", quirks=("max_completion_tokens",))
    assert bodies[0]["options"] == {"num_predict": 5}


def test_every_name_has_its_piece() -> None:
    """What settings take is what the worker can do."""
    assert QUIRKS.keys() == QUIRK_TABLE.keys()


def test_builtin_entries_list_known_quirks_that_all_are_used() -> None:
    """A name that no built-in entry lists is for servers that have none: vLLM, SGLang, llama.cpp."""
    entries = [
        *BUILTIN_PROVIDERS.values(),
        *(e for models in BUILTIN_MODELS.values() for e in models.values()),
    ]
    listed = {name for entry in entries for name in entry.get("quirks", ())}
    assert QUIRKS.keys() - listed == {"think_as_template"}
    assert listed <= QUIRKS.keys()
