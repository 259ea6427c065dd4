"""Strategies for requests that pass chatq's schema, and for answers that are any JSON at all."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from shared.chat import ChatRequest, parse_request
from worker.upstream.history import modernised

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A slow machine is no failure."""

_TEXT = st.text(max_size=8)
_SCALAR = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(0, 1) | _TEXT
JSON = st.recursive(
    _SCALAR,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=8,
)
_IMAGES = st.sampled_from(
    [
        "data:image/png;base64,iVBORw0KGgo=",
        "data:;base64,/9j/4AAQ",
        "data:image/svg+xml,<svg/>",
        "https://pics.test/a.png",
        "http://pics.test/a",
        "",
    ]
)
_PART = (
    st.just({"type": "text", "text": "hi"})
    | st.fixed_dictionaries({"type": st.just("text")}, optional={"text": _TEXT, "cache_control": JSON})
    | st.fixed_dictionaries(
        {"type": st.just("image_url"), "image_url": _IMAGES | st.fixed_dictionaries({"url": _IMAGES}) | JSON}
    )
    | st.fixed_dictionaries({"type": _TEXT})
)
_IDS = st.sampled_from(["a", "b:0", "a_2", ""])
_NAMES = st.sampled_from(["add", "now"])
_FUNCTION = st.fixed_dictionaries(
    {"name": _NAMES}, optional={"arguments": st.sampled_from(['{"a": 1}', "{", "[]", ""]) | JSON}
)
_CALL = st.fixed_dictionaries({"id": _IDS, "function": _FUNCTION}, optional={"extra_content": JSON})
_ODD_CALL = st.dictionaries(_TEXT, JSON, max_size=2)
_CONTENT = st.just("hi") | st.lists(_PART, max_size=3)
_MESSAGE = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["system", "user", "assistant", "tool", "function", "model"]),
        "content": _CONTENT | st.none() | _TEXT,
        "tool_call_id": _IDS,
    },
    optional={
        "tool_calls": st.lists(_CALL, max_size=2) | st.lists(_ODD_CALL, max_size=1),
        "name": _NAMES | JSON,
        "thinking_blocks": st.just([{"type": "thinking", "thinking": "", "signature": "s"}]) | JSON,
    },
)
_ODD_MESSAGE = st.fixed_dictionaries(
    {"role": st.just("user")}, optional={"images": st.lists(_IMAGES, max_size=1) | JSON, "tool_call_id": _IDS}
)
_DECLARED = st.fixed_dictionaries(
    {"function": st.fixed_dictionaries({"name": _NAMES}, optional={"parameters": JSON, "strict": JSON})},
    optional={"type": st.sampled_from(["function", "web_search"])},
)
_SCHEMA = st.fixed_dictionaries({"type": st.just("object"), "properties": st.dictionaries(_TEXT, JSON)})
_FORMAT = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "json_object", "json_schema", "grammar"])},
    optional={"json_schema": st.fixed_dictionaries({"schema": _SCHEMA}) | JSON},
)
_LEVELS = st.sampled_from(["none", "low", "HIGH", "max", "odd"])
_FIELDS = {
    "max_tokens": st.integers(1, 5000),
    "temperature": st.floats(0, 2),
    "stop": _TEXT | st.lists(_TEXT, max_size=6),
    "seed": st.integers(-(2**70), 2**70),
    "response_format": _FORMAT,
    "format": st.just("json") | _SCHEMA,
    "tools": st.lists(_DECLARED | st.dictionaries(_TEXT, JSON, max_size=1), max_size=2),
    "tool_choice": st.sampled_from(["auto", "none", "required", "add"])
    | st.fixed_dictionaries({"type": st.just("function"), "function": _FUNCTION | JSON})
    | st.dictionaries(_TEXT, JSON, max_size=2),
    "reasoning_effort": _LEVELS,
    "think": st.booleans() | _LEVELS,
    "parallel_tool_calls": JSON,
    "n": st.integers(1, 2),
    "user": JSON,
    "generationConfig": JSON,
    "output_config": JSON,
    "thinking": JSON | st.just({"type": "enabled", "budget_tokens": 2000}),
    "reasoning": JSON,
    "text": JSON,
}


@st.composite
def any_request(draw: st.DrawFn) -> ChatRequest:
    """A request that passes the schema, modernised as before every call or not; many are odd in some place."""
    names = draw(st.sets(st.sampled_from(sorted(_FIELDS)), max_size=4))
    fields: dict[str, Any] = {name: draw(_FIELDS[name]) for name in sorted(names)}
    messages = draw(st.lists(_MESSAGE | _MESSAGE | _ODD_MESSAGE, min_size=1, max_size=4))
    request = parse_request({"model": "m", "messages": messages, **fields})
    return modernised(request) if draw(st.booleans()) else request


def any_answer(**known: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object that may have the given fields, right or wrong, and others."""
    return st.fixed_dictionaries({}, optional={name: value | JSON for name, value in known.items()})
