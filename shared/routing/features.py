"""Route features: what the rules of a group may ask of a request. Pure, and cheap: read for each job of a group."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from shared.chat import ChatRequest, Message
from shared.routing.patterns import WordSets
from shared.tokens import estimate_prompt_tokens


class Family(NamedTuple):
    """Words that speak of a kind of task, and the tags that go with it."""

    words: tuple[str, ...]
    tags: tuple[str, ...]


FAMILIES = (
    Family(
        words=(
            "classify", "classification", "label", "tag", "route", "routing", "intent", "json", "yaml", "csv",
            "schema", "parse", "extract", "transform", "format", "regex", "short answer", "brief", "concise",
            "tl;dr", "one line", "simple", "fix this", "small bug", "quick fix", "typo", "syntax error",
        ),
        tags=("fast-flow", "classification", "json-extraction", "basic-qa"),
    ),
    Family(
        words=(
            "explain", "summarize", "rewrite", "draft", "edit", "polish", "outline", "long doc", "document",
            "email", "memo", "proposal", "report", "handout", "notes", "compare", "choose", "recommend",
            "tradeoff", "pros and cons", "analysis", "code review", "debug", "bug", "feature", "api", "endpoint",
            "implement", "plan", "planning", "workflow", "integration",
        ),
        tags=("standard-pro", "long-doc"),
    ),
    Family(
        words=(
            "agent", "agents", "tool use", "function calling", "multi-agent", "orchestrate", "system design",
            "scaling", "performance", "architecture review", "distributed", "hard bug", "race condition",
            "deadlock", "memory leak", "crash", "production outage", "long context", "large codebase",
            "many files", "complex refactor", "migration", "research", "deep dive", "literature", "paper",
            "scholarly", "thorough analysis", "deep reasoning", "think step by step", "reason through",
            "careful analysis",
        ),
        tags=("heavy-logic", "deep-reasoning", "architecture", "hard-debugging"),
    ),
)  # fmt: skip
"""Kinds of tasks by their words: gophergate's, from which the seed groups come, too.

A word counts where one begins (`WordSets`). Found anywhere, `tag` would be in "stage", `plan` in "explanation" and
`format` in "information".
"""

MULTIMODAL_TAGS = ("video-analysis", "multimodal-qa")
TOOL_TAGS = ("tool-heavy", "multi-step-agent", "swe-bench")

REASONING_WORDS = ("reason", "think step by step", "mathematics", "architecture", "explain in detail")

COMPLEX_WORDS = (
    "step by step", "explain in detail", "reason through", "think carefully", "analyze", "debug", "write code",
    "implement", "refactor", "architecture",
)  # fmt: skip
"""What makes a task complex where no rule of a group matches."""

MAX_SCANNED_CHARS = 8_192
"""Longest text that is looked through for words; of a longer one its two ends, where people say what they want."""

_WORDS = WordSets([*(family.words for family in FAMILIES), REASONING_WORDS, COMPLEX_WORDS])
_REASONING, _COMPLEX = len(FAMILIES), len(FAMILIES) + 1
"""Their places behind the families'."""


@dataclass(frozen=True, slots=True)
class Features:
    """What a request is like.

    Attributes:
        text: The last user message, its text parts joined; as it was written, a long one shortened to its ends.
        lowered: The same in lower case.
        input_tokens: Estimated, images counted.
        is_multimodal: Whether there is anything but text in it.
        has_tools: Whether the model may call tools, or has.
        needs_reasoning: Whether it asks for reasoning, in words.
        is_complex: Whether it sounds like a complex task.
        tags: Of the families whose words are in it, and the caller's own; lower case.
    """

    text: str = ""
    lowered: str = ""
    input_tokens: int = 0
    is_multimodal: bool = False
    has_tools: bool = False
    needs_reasoning: bool = False
    is_complex: bool = False
    tags: frozenset[str] = frozenset()


NO_FEATURES = Features()
"""Of a request that is not known."""


def features_of(request: ChatRequest, request_json: bytes, tags: Iterable[str] = ()) -> Features:
    """Read a request's features.

    Args:
        request: The request.
        request_json: The same as JSON; what is in it tells the tokens.
        tags: The caller's own.
    """
    text = last_user_text(request.messages)
    lowered = text.lower()
    is_multimodal = any(map(_is_multimodal, request.messages))
    has_tools = bool(request.tools) or any(message.get("tool_calls") for message in request.messages)
    words = _WORDS.find(lowered)
    found = {tag.lower() for tag in tags}
    for place, family in enumerate(FAMILIES):
        if place in words:
            found.update(family.tags)
    if is_multimodal:
        found.update(MULTIMODAL_TAGS)
    if has_tools:
        found.update(TOOL_TAGS)
    return Features(
        text=text,
        lowered=lowered,
        input_tokens=estimate_prompt_tokens(request, request_json),
        is_multimodal=is_multimodal,
        has_tools=has_tools,
        needs_reasoning=_REASONING in words,
        is_complex=_COMPLEX in words,
        tags=frozenset(found),
    )


def last_user_text(messages: Iterable[Message]) -> str:
    """The text of the last user message, parts joined by a line break; empty when there is none."""
    content: Any = next((m.get("content") for m in reversed(list(messages)) if m["role"] == "user"), None)
    if isinstance(content, list):
        texts = (part.get("text") for part in content if part.get("type") == "text")
        content = "\n".join(text for text in texts if isinstance(text, str))
    if not isinstance(content, str):
        return ""
    return ends_of(content, MAX_SCANNED_CHARS)


def ends_of(text: str, max_chars: int) -> str:
    """A text, or of a longer one its two ends with a line break between them."""
    half = max_chars // 2
    return text if len(text) <= max_chars else f"{text[:half]}\n{text[-half:]}"


def _is_multimodal(message: Message) -> bool:
    """Whether there is a part in it that is no text, or an image as Ollama writes it."""
    content = message.get("content")
    return bool(message.get("images")) or (
        isinstance(content, list) and any(part.get("type") not in ("text", "refusal") for part in content)
    )
