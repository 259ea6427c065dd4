"""Every quirk by its name; settings know the names and what each does (`shared/settings/quirk_names.py`)."""

from __future__ import annotations

from collections.abc import Mapping

from shared.settings import Wire as WireName
from worker.upstream.quirks import function_names, messages, thinking
from worker.upstream.quirks.fields import auto_tool_choice, left_out, renamed
from worker.upstream.quirks.quirk import ChangeBody, Quirk
from worker.upstream.quirks.usage import reasoning_beside_output

_CHAT: frozenset[WireName] = frozenset({"openai"})
_FLAT: frozenset[WireName] = frozenset({"openai", "responses", "anthropic"})
"""Wires that have the sampling fields at the top level, under OpenAI's names."""

_PENALTIES = ("frequency_penalty", "presence_penalty")


def _chat(body: ChangeBody) -> Quirk:
    return Quirk(body=body, wires=_CHAT)


def _flat(body: ChangeBody) -> Quirk:
    return Quirk(body=body, wires=_FLAT)


QUIRK_TABLE: Mapping[str, Quirk] = {
    "max_completion_tokens": _chat(renamed("max_tokens", "max_completion_tokens")),
    "max_tokens": _chat(renamed("max_completion_tokens", "max_tokens")),
    "fixed_sampling": _flat(left_out("temperature", "top_p", "top_k", *_PENALTIES)),
    "one_choice": _chat(left_out("n")),
    "no_stop": _chat(left_out("stop")),
    "no_penalties": _chat(left_out(*_PENALTIES)),
    "no_seed": _chat(left_out("seed")),
    "auto_tool_choice": _chat(auto_tool_choice),
    "think_as_effort": _chat(thinking.as_effort),
    "think_as_reasoning": _chat(thinking.as_reasoning),
    "think_as_type": _chat(thinking.as_type(takes_effort=True)),
    "think_as_type_only": _chat(thinking.as_type(takes_effort=False)),
    "think_as_template": _chat(thinking.as_template),
    "effort_of_k3": _chat(thinking.effort_of_k3),
    "reasoning_sent_back": _chat(messages.reasoning_sent_back),
    "reasoning_stripped": _chat(messages.reasoning_stripped),
    "english_system_prompt": Quirk(request=messages.english_system_prompt),
    "json_word": Quirk(request=messages.json_word),
    "safe_function_names": Quirk(
        request=function_names.safe, answer=function_names.restored, delta=function_names.restored_piece
    ),
    "text_beside_tool_calls": _chat(messages.text_beside_tool_calls),
    "flat_text": _chat(messages.flat_text),
    "opencode_session": Quirk(job_header="x-opencode-session"),
    "reasoning_beside_output": Quirk(answer=reasoning_beside_output, wires=_CHAT),
}
