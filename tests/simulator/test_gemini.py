"""What Google's own client does not send, or hides: framings, refusals, signatures."""

from __future__ import annotations

from typing import Any

import httpx
import orjson
import pytest

from simulator import text_digest
from tests.simulator.calls import answer_text, body, chat
from tests.simulator.conftest import StartSimulator

HI = [{"role": "user", "parts": [{"text": "hi"}]}]
CALL = {"functionCall": {"name": "f", "args": {}}}
RESULT = {"functionResponse": {"name": "f", "response": {"result": "x"}}}
TOOLS = [{"functionDeclarations": [{"name": "f"}]}]


async def test_stream_without_sse_is_one_array(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """Its elements are what the events carry with `alt=sse`."""
    url = f"{(await start()).url}/v1beta/models/m:streamGenerateContent"
    array = await client.post(url, json=body("gemini"))
    assert array.headers["content-type"] == "application/json"
    texts = [answer_text("gemini", element) for element in array.json()]
    events = [
        line for line in (await client.post(f"{url}?alt=sse", json=body("gemini"))).text.split("\n\n") if line
    ]
    assert texts == [answer_text("gemini", orjson.loads(event.removeprefix("data: "))) for event in events]
    assert "".join(texts).startswith(f"echo {text_digest('m', '', 'hi')}")


@pytest.mark.parametrize(("fault", "count"), [("error-200", 1), ("error-mid", 6)])
async def test_error_in_array_is_its_last_element(
    start: StartSimulator, client: httpx.AsyncClient, fault: str, count: int
) -> None:
    """The array is closed, so a reader of the whole finds the error."""
    simulator = await start(output_tokens=8)
    url = f"{simulator.url}/v1beta/models/sim-fault-{fault}:streamGenerateContent"
    elements = (await client.post(url, json=body("gemini"))).json()
    assert len(elements) == count
    assert elements[-1]["error"]["status"] == "UNAVAILABLE"


@pytest.mark.parametrize("place", ["/v1", "/prefix/v1beta"])
async def test_both_versions_answer(start: StartSimulator, client: httpx.AsyncClient, place: str) -> None:
    """Under any prefix; a name may hold a colon and be percent-encoded."""
    simulator = await start()
    url = f"{simulator.url}{place}/models/vendor%2Fm:free:generateContent"
    assert (await client.post(url, json=body("gemini"))).status_code == 200
    assert simulator.calls[0].model == "vendor/m:free"


async def test_key_may_stand_in_query(start: StartSimulator, client: httpx.AsyncClient) -> None:
    url = (await start(key="right", models=("m",))).url
    answer = await client.post(f"{url}/v1beta/models/m:generateContent?key=right", json=body("gemini"))
    assert answer.status_code == 200
    listed = await client.get(f"{url}/v1beta/models?key=right")
    assert listed.json()["models"][0]["name"] == "models/m"
    assert (await client.get(f"{url}/v1beta/models")).status_code == 403


async def test_protocol_buffer_names_are_taken(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """As in Google's own curl examples."""
    request = {
        "system_instruction": {"parts": {"text": "Be brief."}},
        "contents": {"parts": [{"text": "hi"}]},
        "generation_config": {"max_output_tokens": 2},
    }
    data = (await client.post(f"{(await start()).url}/v1beta/models/m:generateContent", json=request)).json()
    assert answer_text("gemini", data).startswith(f"echo {text_digest('m', 'Be brief.', 'hi')}")
    assert data["candidates"][0]["finishReason"] == "MAX_TOKENS"


async def test_free_form_fields_keep_their_names(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """Arguments, results and schemas are the caller's own."""
    schema = {"type": "OBJECT", "properties": {"snake_case": {"type": "STRING"}}}
    config = {"responseMimeType": "application/json", "responseSchema": schema}
    response = await chat(client, (await start()).url, "gemini", generationConfig=config)
    assert set(orjson.loads(answer_text("gemini", response.json()))) == {"snake_case"}


async def test_count_takes_a_whole_request(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """Then the system text counts too."""
    url = f"{(await start()).url}/v1beta/models/m:countTokens"
    request = {"generateContentRequest": {"model": "models/m", **body("gemini", system="s" * 400)}}
    assert (await client.post(url, json=request)).json()["totalTokens"] == 100
    assert (await client.post(url, json={"contents": HI})).json()["totalTokens"] == 1
    assert (await client.post(url, json={})).status_code == 400


INVALID: list[tuple[dict[str, Any], str]] = [
    ({"messages": []}, 'Unknown name \\"messages\\"'),
    ({"generationConfig": {"max_tokens": 3}}, "generation_config"),
    ({"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]}, "valid role"),
    ({"contents": []}, "contents is not specified"),
    ({"contents": ["x"]}, "an object is wanted"),
    ({"contents": [{"role": "user", "parts": []}]}, "must not be empty"),
    ({"contents": [{"role": "user", "parts": [{"thought": True}]}]}, "oneof field"),
    ({"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": "?"}}]}]}, "Base64"),
    ({"contents": [{"parts": [{"inlineData": {"data": "aGk="}}]}]}, "mimeType"),
    ({"contents": [*HI, {"role": "user", "parts": [RESULT]}]}, "number of function response parts"),
    ({"generationConfig": {"maxOutputTokens": 0}}, "positive"),
    ({"generationConfig": {"thinkingConfig": {"thinkingBudget": 1, "thinkingLevel": "LOW"}}}, "only one of"),
    ({"generationConfig": {"thinkingConfig": {"thinkingLevel": "SOME"}}}, "thinking_level"),
    ({"generationConfig": {"responseSchema": {"type": "OBJECT"}}}, "response_mime_type"),
    ({"tools": [{"functionDeclarations": [{"description": "x"}]}]}, "FIELD_INVALID"),
    ({"toolConfig": {"functionCallingConfig": {"mode": "SOMETIMES"}}}, "mode"),
    ({"toolConfig": {"functionCallingConfig": {"allowedFunctionNames": ["f"]}}}, "Allowed function names"),
    ({"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}, "no tool"),
]


@pytest.mark.parametrize(("fields", "text"), INVALID)
async def test_wrong_request_is_invalid_argument(
    start: StartSimulator, client: httpx.AsyncClient, fields: dict[str, Any], text: str
) -> None:
    """400 in Google's shape, with what is wrong."""
    response = await chat(client, (await start()).url, "gemini", **fields)
    assert (response.status_code, response.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert text in response.text


async def test_unknown_field_is_named_in_details(start: StartSimulator, client: httpx.AsyncClient) -> None:
    response = await chat(client, (await start()).url, "gemini", generationConfig={"max_tokens": 3})
    violation = response.json()["error"]["details"][0]["fieldViolations"][0]
    assert violation["field"] == "generation_config"


@pytest.mark.parametrize(
    ("model", "signed", "status"),
    [("gemini-3-pro", False, 400), ("gemini-3-pro", True, 200), ("m", False, 200)],
)
async def test_gemini_3_wants_its_signature_back(
    start: StartSimulator, client: httpx.AsyncClient, model: str, signed: bool, status: int
) -> None:
    """With the calls of the turn under way; older models do without."""
    url = (await start()).url
    first = await chat(client, url, "gemini", model=model, tools=TOOLS)
    part = first.json()["candidates"][0]["content"]["parts"][-1]
    assert part["thoughtSignature"]
    given = part if signed else {"functionCall": part["functionCall"]}
    turns = [*HI, {"role": "model", "parts": [given]}, {"role": "user", "parts": [RESULT]}]
    assert (await chat(client, url, "gemini", model=model, contents=turns)).status_code == status


async def test_signature_of_an_earlier_turn_is_not_wanted(
    start: StartSimulator, client: httpx.AsyncClient
) -> None:
    """A new user text ends the turn."""
    said = {"role": "model", "parts": [{"text": "done"}]}
    turns = [*HI, {"role": "model", "parts": [CALL]}, {"role": "user", "parts": [RESULT]}, said, *HI]
    response = await chat(client, (await start()).url, "gemini", model="gemini-3-pro", contents=turns)
    assert response.status_code == 200


async def test_budget_of_zero_means_no_thoughts(start: StartSimulator, client: httpx.AsyncClient) -> None:
    config = {"thinkingConfig": {"thinkingBudget": 0, "includeThoughts": True}}
    data = (await chat(client, (await start()).url, "gemini", generationConfig=config)).json()
    assert "thoughtsTokenCount" not in data["usageMetadata"]
