"""The names of all quirks, with what each does; the worker has one piece of code a name."""

from __future__ import annotations

QUIRKS: dict[str, str] = {
    # the cap on the answer
    "max_completion_tokens": "the cap on the answer goes under this name",
    "max_tokens": "the cap on the answer goes under this name",
    # fields that are left out
    "fixed_sampling": "temperature, top_p, top_k and the penalties are left out",
    "one_choice": "n is left out",
    "no_stop": "stop is left out",
    "no_penalties": "frequency_penalty and presence_penalty are left out",
    "no_seed": "seed is left out",
    "auto_tool_choice": "tool_choice is left out; with `none` the tools are too",
    # thinking
    "think_as_effort": "think = false is sent as reasoning_effort none",
    "think_as_reasoning": "think is sent as OpenRouter's reasoning object",
    "think_as_type": "think is sent as thinking.type; a reasoning_effort goes beside it",
    "think_as_type_only": "think is sent as thinking.type, and no reasoning_effort",
    "think_as_template": "think is sent as chat_template_kwargs.enable_thinking (vLLM, SGLang, llama.cpp)",
    "effort_of_k3": "reasoning_effort is one of low, high and max; none is not said",
    # messages
    "reasoning_sent_back": "messages with tool calls carry reasoning_content, at least an empty one, and no other",
    "reasoning_stripped": "thinking traces are taken out of the history",
    "english_system_prompt": "a request without a system prompt gets one that asks for English",
    "json_word": "a request for a JSON object whose messages lack the word gets a system prompt that has it",
    "safe_function_names": "function names are made of A-Z, a-z, 0-9, _ and -; the answer has the caller's names",
    "text_beside_tool_calls": "an assistant message with tool calls has text, if an empty one",
    "flat_text": "a message of text parts is sent as one text; empty text parts are left out",
    # headers and usage
    "opencode_session": "the header x-opencode-session has the job's id",
    "reasoning_beside_output": "reasoning tokens are counted beside the output (xAI), so they are added to it",
}
"""What `quirks` of a provider or a model may list."""
