"""OpenAI's Responses wire. Shapes: openai/openai-openapi; openai PyPI `types/responses`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from simulator.answer import Answer
from simulator.demand import Demand, choose_tool
from simulator.digest import content_text
from simulator.events import typed_event
from simulator.framing import JSON, SSE, Content, Request, plain
from simulator.openai_errors import SERVER_ERROR, OpenAIErrors
from simulator.openai_requests import cap_tokens, json_form, model_name, offered_tools, tool_choice
from simulator.refusals import InvalidRequest
from simulator.responses_events import stream
from simulator.wire import ChatCall, PromptTokens, Timing, decode

_SYSTEM_ROLES = frozenset(("system", "developer"))
_LEAST_CAP = 16
"""The smallest `max_output_tokens` OpenAI takes."""


class ResponsesWire(OpenAIErrors):
    """`POST …/responses`."""

    name = "responses"

    def parse(self, request: Request) -> ChatCall:
        """Read a request; streaming is off unless asked for."""
        data = decode(request.body)
        model, items = model_name(data), _items(data.get("input"))
        system, prompt = _texts(data.get("instructions"), items)
        cap = cap_tokens(data, "max_output_tokens")
        if cap is not None and cap < _LEAST_CAP:
            raise InvalidRequest(
                f"Invalid 'max_output_tokens': integer below minimum value. Expected a value >= {_LEAST_CAP}, "
                f"but got {cap} instead.",
                "max_output_tokens",
            )
        return ChatCall(
            model,
            system,
            prompt,
            cap,
            is_stream=data.get("stream") is True,
            demand=_demand(data, items),
            images=sum(map(_images, items)),
        )

    def answer(self, call: ChatCall, answer: Answer, prompt: PromptTokens, timing: Timing) -> Content:
        """A Response, or the events that build it up; one that the cap cut is incomplete."""
        output = _output(call, answer)
        response = _response(call, timing, output, "incomplete" if answer.is_cut else "completed")
        if answer.is_cut:
            response["incomplete_details"] = {"reason": "max_output_tokens"}
        response["usage"] = _usage(answer, prompt)
        return _content(call, response)

    def answer_without_choice(self, call: ChatCall, timing: Timing) -> Content:
        """`output: []`."""
        return _content(call, _response(call, timing, [], "completed"))

    def blocked(self, call: ChatCall, prompt: PromptTokens, timing: Timing) -> Content:
        """Incomplete, for the content filter."""
        response = _response(call, timing, [], "incomplete")
        response["incomplete_details"] = {"reason": "content_filter"}
        response["usage"] = _usage(Answer("", 0, is_cut=False), prompt)
        return _content(call, response)

    def error_in_answer(self, call: ChatCall, begun: Sequence[bytes] = ()) -> Content:
        """A Response that failed; the event `response.failed` in a stream that began, else the event `error`."""
        timing = Timing(created_at=0.0, elapsed_s=0.0)
        failed = _response(call, timing, [], "failed")
        failed["error"] = {"code": "server_error", "message": SERVER_ERROR}
        if not call.is_stream:
            return plain(JSON, orjson.dumps(failed))
        event: dict[str, Any] = {"type": "response.failed", "response": failed}
        if not begun:
            event = {"type": "error", "code": "server_error", "message": SERVER_ERROR, "param": None}
        return Content(SSE, [*begun, typed_event({**event, "sequence_number": len(begun)})], is_stream=True)


def _content(call: ChatCall, response: dict[str, Any]) -> Content:
    if call.is_stream:
        return Content(SSE, stream(response), is_stream=True)
    return plain(JSON, orjson.dumps(response))


def _items(value: object) -> list[dict[str, Any]]:
    """The input as items; a bare text is one message."""
    if isinstance(value, str) and value:
        return [{"type": "message", "role": "user", "content": value}]
    if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
        raise InvalidRequest("Missing required parameter: 'input'.", "input")
    _check_results(value)
    return value


def _check_results(items: list[dict[str, Any]]) -> None:
    """A call's output must answer a call that the input holds."""
    called = {item.get("call_id") for item in items if item.get("type") == "function_call"}
    for item in items:
        if item.get("type") == "function_call_output" and item.get("call_id") not in called:
            name = item.get("call_id")
            raise InvalidRequest(f"No tool call found for function call output with call_id {name}.", "input")


def _texts(instructions: object, items: list[dict[str, Any]]) -> tuple[str, str]:
    """System and prompt texts, as `simulator.digest` says.

    A call's output is a message; so are calls that no assistant's text comes before, with an empty one.
    """
    if instructions is not None and not isinstance(instructions, str):
        raise InvalidRequest("Invalid type for 'instructions': expected a string", "instructions")
    system = [instructions] if instructions else []
    prompt: list[str] = []
    is_after_assistant = False
    for item in items:
        kind = item.get("type", "message")
        if kind == "function_call":
            prompt.extend([] if is_after_assistant else [""])
            is_after_assistant = True
        if kind not in ("message", "function_call_output"):
            continue
        is_after_assistant = item.get("role") == "assistant"
        text = content_text({"content": item.get("content", item.get("output"))})
        (system if item.get("role") in _SYSTEM_ROLES else prompt).append(text)
    return "\n\n".join(system), "\n\n".join(prompt)


def _images(item: dict[str, Any]) -> int:
    content = item.get("content")
    if not isinstance(content, list):
        return 0
    return sum(isinstance(part, dict) and part.get("type") == "input_image" for part in content)


def _demand(data: dict[str, Any], items: list[dict[str, Any]]) -> Demand:
    text, reasoning, tools = data.get("text") or {}, data.get("reasoning") or {}, data.get("tools") or []
    if not isinstance(text, dict) or not isinstance(reasoning, dict) or not isinstance(tools, list):
        raise InvalidRequest("'text' and 'reasoning' must be objects, 'tools' an array")
    is_json, schema = json_form(text.get("format"), "text.format")
    functions = [tool for tool in tools if isinstance(tool, dict) and tool.get("type") == "function"]
    tool = choose_tool(
        offered_tools(functions),
        tool_choice(data.get("tool_choice")),
        is_after_result=items[-1].get("type") == "function_call_output",
    )
    is_thinking = reasoning.get("effort") not in (None, "none")
    return Demand(tool, is_json, schema, is_thinking, "summary" if reasoning.get("summary") else None)


def _response(call: ChatCall, timing: Timing, output: list[dict[str, Any]], status: str) -> dict[str, Any]:
    return {
        "id": f"resp_sim{int(timing.created_at * 1_000_000):x}",
        "object": "response",
        "created_at": int(timing.created_at),
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": call.model,
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": None,
    }


def _output(call: ChatCall, answer: Answer) -> list[dict[str, Any]]:
    """The items: reasoning, then a call or a message."""
    status = "incomplete" if answer.is_cut else "completed"
    items: list[dict[str, Any]] = []
    if call.demand.is_thinking:
        summary = [{"type": "summary_text", "text": answer.thoughts}] if call.demand.trace else []
        items.append({"id": "rs_sim0", "type": "reasoning", "summary": summary})
    if answer.tool_call is None:
        part = {"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}
        message = {"id": "msg_sim0", "type": "message", "role": "assistant", "status": status}
        return [*items, {**message, "content": [part]}]
    function_call = {
        "id": "fc_sim0",
        "type": "function_call",
        "status": status,
        "call_id": f"call_{answer.tool_call.ident}",
        "name": answer.tool_call.name,
        "arguments": orjson.dumps(answer.tool_call.arguments).decode(),
    }
    return [*items, function_call]


def _usage(answer: Answer, prompt: PromptTokens) -> dict[str, Any]:
    return {
        "input_tokens": prompt.total,
        "input_tokens_details": {"cached_tokens": prompt.cached, "cache_write_tokens": 0},
        "output_tokens": answer.tokens,
        "output_tokens_details": {"reasoning_tokens": answer.thought_tokens},
        "total_tokens": prompt.total + answer.tokens,
    }
