"""Fields a model has refused: left out the next time, for this model alone."""

from __future__ import annotations

from typing import Any

import httpx
import orjson
import pytest

from shared.errors import CandidateUnfit, FieldRefused
from tests.worker.upstream.conftest import Caller
from tests.worker.upstream.loopback import GOOD, chat_request
from worker.upstream import Upstream
from worker.upstream.refused_fields import MAX_MODELS, MAX_VALUES, RefusedFields

CANNOT_THINK = httpx.Response(400, json={"error": '"gemma3:4b" does not support thinking'})
ONLY_ONE = httpx.Response(
    400, json={"error": {"message": "invalid temperature: only 1 is allowed for this model", "type": "x"}}
)
DONE = {"model": "m", "message": {"role": "assistant", "content": "hello"}, "done": True}


class Server:
    """Refuses requests that have a field, answers the others, and remembers all."""

    def __init__(self, field: str, refusal: httpx.Response, answer: dict[str, Any]) -> None:
        self.field = field
        self.refusal = refusal
        self.answer = answer
        self.bodies: list[dict[str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = orjson.loads(request.content)
        self.bodies.append(body)
        return self.refusal if self.field in body else httpx.Response(200, json=self.answer)


async def asked(upstream: Upstream, model: str, **fields: object) -> None:
    await upstream.call(chat_request(**fields), model, headers={}, timeout_s=5)


async def test_model_that_cannot_think_is_not_asked_to_again(caller: Caller) -> None:
    """The first refusal is worth another attempt, and that one goes through; other models are asked as before."""
    server = Server("think", CANNOT_THINK, DONE)
    upstream = caller.open("http://ollama.test", transport=httpx.MockTransport(server), wire="ollama")
    with pytest.raises(FieldRefused) as caught:
        await asked(upstream, "gemma3:4b", think=True)
    assert (caught.value.code, caught.value.scope, caught.value.status) == ("field_refused", "job", 400)
    await asked(upstream, "gemma3:4b", think=True)
    with pytest.raises(FieldRefused):
        await asked(upstream, "other", think=True)
    assert [body.get("think") for body in server.bodies] == [True, None, True]


async def test_fixed_sampling_is_learned_from_the_refusal(caller: Caller) -> None:
    """All sampling fields go at once: a model that fixes one fixes them all."""
    server = Server("temperature", ONLY_ONE, GOOD)
    upstream = caller.open("https://api.moonshot.ai/v1", transport=httpx.MockTransport(server))
    with pytest.raises(FieldRefused):
        await asked(upstream, "kimi-k3", temperature=0.2, top_p=0.5, max_tokens=9)
    await asked(upstream, "kimi-k3", temperature=0.2, top_p=0.5, max_tokens=9)
    assert set(server.bodies[1]) == {"model", "messages", "max_tokens", "stream"}


async def test_refusal_of_what_was_not_sent_is_not_tried_again(caller: Caller) -> None:
    """Without a field to leave out, the same request would be refused again."""
    server = Server("messages", ONLY_ONE, GOOD)
    upstream = caller.open("https://api.moonshot.ai/v1", transport=httpx.MockTransport(server))
    with pytest.raises(CandidateUnfit, match="invalid temperature"):
        await asked(upstream, "kimi-k3")


def test_memory_is_bounded() -> None:
    """Model names come from jobs: the one learned the longest ago is forgotten."""
    refused = RefusedFields()
    for number in range(MAX_MODELS + 1):
        refused.learn(f"m{number}", {"think": True}, frozenset({"think"}))
    bodies = []
    for model in ("m0", "m1", f"m{MAX_MODELS}"):
        body = {"think": True}
        refused.leave_out(model, body)
        bodies.append(body)
    assert bodies == [{"think": True}, {}, {}]


def test_refusals_of_a_model_add_up() -> None:
    """A second field does not make it forget the first."""
    refused = RefusedFields()
    for field in ("think", "temperature"):
        assert refused.learn("m", {field: 1}, frozenset({field}))
    body = {"think": 1, "temperature": 1, "messages": []}
    refused.leave_out("m", body)
    assert body == {"messages": []}


def test_of_levels_only_the_refused_one_is_left_out() -> None:
    """A model that cannot be told `none` takes `high` all the same."""
    refused = RefusedFields()
    for effort in ("none", "max"):
        assert refused.learn("m", {"reasoning_effort": effort}, frozenset({"reasoning_effort"}))
    bodies = [{"reasoning_effort": effort} for effort in ("none", "high", "max")]
    for body in bodies:
        refused.leave_out("m", body)
    assert bodies == [{}, {"reasoning_effort": "high"}, {}]


def test_nested_field_is_left_out_by_its_path() -> None:
    """Its neighbours stay, an object that is empty without it goes, and the caller's own is not changed."""
    refused = RefusedFields()
    path, own = "generationConfig.thinkingConfig", {"thinkingBudget": 9}
    config = {"temperature": 0.5, "thinkingConfig": own}
    assert refused.learn("m", {"generationConfig": config}, frozenset({path}))
    bodies = [
        {"generationConfig": config},
        {"generationConfig": {"thinkingConfig": own}},
        {"generationConfig": {"thinkingConfig": {"thinkingBudget": 8}}},
        {"generationConfig": 5},
    ]
    for body in bodies:
        refused.leave_out("m", body)
    assert bodies == [
        {"generationConfig": {"temperature": 0.5}},
        {},
        {"generationConfig": {"thinkingConfig": {"thinkingBudget": 8}}},
        {"generationConfig": 5},
    ]
    assert config == {"temperature": 0.5, "thinkingConfig": own}


def test_nested_field_that_was_not_sent_teaches_nothing() -> None:
    assert not RefusedFields().learn("m", {"reasoning": {"effort": "low"}}, frozenset({"reasoning.summary"}))


async def test_summary_that_is_refused_leaves_the_effort(caller: Caller) -> None:
    """Only verified organisations get summaries of thoughts; they think all the same."""
    refusal = {"message": "Your organization must be verified to generate reasoning summaries."}
    refused = httpx.Response(400, json={"error": {**refusal, "param": "reasoning.summary"}})
    said = {"type": "message", "content": [{"type": "output_text", "text": "hi"}]}
    bodies: list[dict[str, Any]] = []

    def server(request: httpx.Request) -> httpx.Response:
        bodies.append(orjson.loads(request.content))
        return (
            refused
            if "summary" in bodies[-1]["reasoning"]
            else httpx.Response(200, json={"status": "completed", "output": [said]})
        )

    upstream = caller.open(
        "https://api.openai.com/v1", transport=httpx.MockTransport(server), wire="responses"
    )
    with pytest.raises(FieldRefused):
        await asked(upstream, "gpt-5.6", think="high")
    await asked(upstream, "gpt-5.6", think="high")
    assert [body["reasoning"] for body in bodies] == [
        {"effort": "high", "summary": "auto"},
        {"effort": "high"},
    ]


def test_field_of_which_too_many_values_are_refused_is_given_up() -> None:
    """Values come from jobs, so there may be any number."""
    refused = RefusedFields()
    for number in range(MAX_VALUES + 1):
        refused.learn("m", {"think": str(number)}, frozenset({"think"}))
    body = {"think": "another"}
    refused.leave_out("m", body)
    assert body == {}


async def test_model_that_may_not_be_streamed_answers_whole(caller: Caller) -> None:
    """OpenAI streams some models to verified organisations only; the next attempt asks for no stream."""
    refusal = {"message": "Your organization must be verified to stream this model.", "param": "stream"}
    server = Server("stream_options", httpx.Response(400, json={"error": refusal}), GOOD)
    upstream = caller.open("https://api.openai.com/v1", transport=httpx.MockTransport(server), stream=True)
    with pytest.raises(FieldRefused):
        await asked(upstream, "o3")
    await asked(upstream, "o3")
    assert [body.get("stream") for body in server.bodies] == [True, None]
