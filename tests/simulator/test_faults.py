"""Each fault as a client sees it, asked for by the model's name."""

from __future__ import annotations

import json

import httpx
import orjson
import pytest

from simulator import Fault, request_digest
from simulator.faults import choose_fault, directive_in
from tests.simulator.calls import WIRES, answer_text, body, call, chat, error_text
from tests.simulator.conftest import StartSimulator
from tests.support import wait_until


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("429", 429),
        ("429-bare", 429),
        ("429-quota", 429),
        ("402", 402),
        ("404-model", 404),
        ("500", 500),
        ("503", 503),
        ("529", 529),
    ],
)
async def test_status_fault_has_wire_error(
    start: StartSimulator, client: httpx.AsyncClient, wire: str, fault: str, status: int
) -> None:
    """The status comes with an error in the wire's shape, and the log names the fault."""
    simulator = await start()
    response = await chat(client, simulator.url, wire, model=f"sim-fault-{fault}")
    assert response.status_code == status
    assert error_text(wire, response)
    record = simulator.calls[0]
    assert (record.status, record.fault, record.output_tokens) == (status, fault, 0)


@pytest.mark.parametrize("wire", WIRES)
async def test_bad_key_fault_is_as_if_the_key_were_wrong(
    start: StartSimulator, client: httpx.AsyncClient, wire: str
) -> None:
    """401, at Google 400 with a reason."""
    simulator = await start()
    response = await chat(client, simulator.url, wire, model="sim-fault-bad-key")
    assert response.status_code == (400 if wire == "gemini" else 401)
    assert error_text(wire, response)
    assert simulator.calls[0].fault == "bad-key"


async def test_429_states_wait_unless_bare(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """Retry-After is the configured one, or absent."""
    url = (await start(retry_after_s=2.5)).url
    stated = await chat(client, url, "openai", model="sim-fault-429")
    bare = await chat(client, url, "openai", model="sim-fault-429-bare")
    assert stated.headers["retry-after"] == "2.5"
    assert "retry-after" not in bare.headers


async def test_429_states_wait_where_the_wire_does(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """Anthropic in the header, Gemini in the body alone."""
    url = (await start(retry_after_s=2.5)).url
    anthropic = await chat(client, url, "anthropic", model="sim-fault-429")
    gemini = await chat(client, url, "gemini", model="sim-fault-429")
    bare = await chat(client, url, "gemini", model="sim-fault-429-bare")
    assert anthropic.headers["retry-after"] == "2.5"
    assert "retry-after" not in gemini.headers
    assert (b'"retryDelay":"2.5s"' in gemini.content, b"retryDelay" in bare.content) == (True, False)


async def test_used_up_quota_states_no_wait(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """OpenAI's 429 about money looks like a rate limit until its code is read."""
    response = await chat(client, (await start()).url, "openai", model="sim-fault-429-quota")
    assert "retry-after" not in response.headers
    assert response.json()["error"]["code"] == "insufficient_quota"


async def test_unknown_model_fault_is_as_if_unlisted(
    start: StartSimulator, client: httpx.AsyncClient
) -> None:
    """A model that its provider listed and took away."""
    response = await chat(client, (await start()).url, "openai", model="sim-fault-404-model")
    assert response.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("is_stream", [False, True])
async def test_deep_json_nests_100_000_levels(
    start: StartSimulator, client: httpx.AsyncClient, wire: str, is_stream: bool
) -> None:
    """A good answer, or a stream's first event, that no recursive parser gets to the end of."""
    response = await chat(client, (await start()).url, wire, model="sim-fault-deep-json", stream=is_stream)
    text = next(line for line in response.text.splitlines() if "{" in line).removeprefix("data: ")
    assert (text[:100_001], text[-100_001:]) == ("[" * 100_000 + "{", "}" + "]" * 100_000)
    assert orjson.loads(text.strip("[]"))
    with pytest.raises(RecursionError):
        json.loads(text)


async def test_gzip_bomb_unpacks_to_configured_size(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """Little goes over the wire, and what comes out is valid JSON."""
    simulator = await start(oversize_bytes=3_000_000)
    response = await chat(client, simulator.url, "openai", model="sim-fault-gzip-bomb")
    assert len(response.json()) >= 3_000_000
    assert simulator.calls[0].sent_bytes < 10_000


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("fault", ["reset", "reset-mid"])
async def test_reset_breaks_connection(
    start: StartSimulator, client: httpx.AsyncClient, wire: str, fault: str
) -> None:
    """The client sees a reset; the status is recorded only if it was sent."""
    simulator = await start()
    with pytest.raises(httpx.ReadError):
        await chat(client, simulator.url, wire, model=f"sim-fault-{fault}")
    assert simulator.calls[0].status == (None if fault == "reset" else 200)


@pytest.mark.parametrize("wire", WIRES)
async def test_reset_mid_sends_half_the_body_first(
    start: StartSimulator, client: httpx.AsyncClient, wire: str
) -> None:
    """Some of the body arrives before the reset."""
    simulator = await start()
    received = b""
    with pytest.raises(httpx.ReadError):
        async with client.stream(**call(simulator.url, wire, model="sim-fault-reset-mid")) as response:
            async for piece in response.aiter_raw():
                received += piece
    assert 0 < len(received) < int(response.headers["content-length"])


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("is_stream", [False, True])
async def test_truncate_ends_before_announced_length(
    start: StartSimulator, client: httpx.AsyncClient, wire: str, is_stream: bool
) -> None:
    """The connection closes cleanly in the middle of the body."""
    simulator = await start()
    with pytest.raises(httpx.RemoteProtocolError, match=r"complete message body|incomplete chunked"):
        await chat(client, simulator.url, wire, model="sim-fault-truncate", stream=is_stream)
    assert simulator.calls[0].output_tokens > 0


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("fault", ["malformed", "html", "empty"])
async def test_spoiled_body_is_200_without_json(
    start: StartSimulator, client: httpx.AsyncClient, wire: str, fault: str
) -> None:
    """The delivery is fine and the body is no JSON."""
    simulator = await start()
    response = await chat(client, simulator.url, wire, model=f"sim-fault-{fault}")
    assert response.status_code == 200
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(response.content)


async def test_html_fault_says_so(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """The content type is that of a proxy's error page."""
    response = await chat(client, (await start()).url, "openai", model="sim-fault-html")
    assert response.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("is_stream", [False, True])
async def test_no_choices_lacks_the_message(
    start: StartSimulator, client: httpx.AsyncClient, wire: str, is_stream: bool
) -> None:
    """A well-formed answer with nothing in it."""
    response = await chat(
        client, (await start()).url, wire, model="sim-fault-no-choices", stream=is_stream, system="Be brief."
    )
    assert response.status_code == 200
    assert "echo" not in response.text


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("is_stream", [False, True])
async def test_error_200_hides_error_in_answer(
    start: StartSimulator, client: httpx.AsyncClient, wire: str, is_stream: bool
) -> None:
    """Status 200, an error object, and no end mark in a stream."""
    response = await chat(client, (await start()).url, wire, model="sim-fault-error-200", stream=is_stream)
    assert response.status_code == 200
    data = orjson.loads(response.text.strip().splitlines()[-1].removeprefix("data: "))
    assert data.get("type") == "error" if is_stream and wire == "responses" else data["error"]


@pytest.mark.parametrize("wire", WIRES)
async def test_error_mid_breaks_a_stream_off(
    start: StartSimulator, client: httpx.AsyncClient, wire: str
) -> None:
    """Half of the answer, then the wire's error, and no end mark."""
    simulator = await start(output_tokens=20)
    model = "sim-fault-error-mid"
    response = await chat(client, simulator.url, wire, model=model, stream=True)
    lines = [line for line in response.text.splitlines() if "{" in line]
    last = orjson.loads(lines[-1].removeprefix("data: "))
    assert len(lines) > 5 and "echo" in response.text
    assert last["response"]["error"] if wire == "responses" else last["error"]
    assert "[DONE]" not in response.text
    plain = orjson.loads((await chat(client, simulator.url, wire, model=model)).text)
    assert plain["error"]


BLOCKED = {
    "ollama": b"I'm",
    "ollama_generate": b"I'm",
    "openai": b'"finish_reason":"content_filter"',
    "responses": b'"reason":"content_filter"',
    "anthropic": b'"stop_reason":"refusal"',
    "gemini": b'"promptFeedback":{"blockReason":"SAFETY"',
}


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("is_stream", [False, True])
async def test_blocked_declines_with_200(
    start: StartSimulator, client: httpx.AsyncClient, wire: str, is_stream: bool
) -> None:
    """The wire's own mark of a refusal, no answer, and no tokens made."""
    simulator = await start()
    response = await chat(client, simulator.url, wire, model="sim-fault-blocked", stream=is_stream)
    assert response.status_code == 200
    assert BLOCKED[wire].replace(b"I'm", b"I'm") in response.content
    assert b"echo " not in response.content
    assert (simulator.calls[0].fault, simulator.calls[0].output_tokens) == ("blocked", 0)


@pytest.mark.parametrize("wire", WIRES)
async def test_stall_sends_half_and_keeps_the_connection(
    start: StartSimulator, client: httpx.AsyncClient, wire: str
) -> None:
    """Bytes came, then none, until the client gives up."""
    simulator = await start(output_tokens=20)
    received = b""
    with pytest.raises(httpx.ReadTimeout):
        async with client.stream(
            **call(simulator.url, wire, model="sim-fault-stall", stream=True), timeout=0.2
        ) as response:
            async for piece in response.aiter_raw():
                received += piece
    assert b"echo" in received
    await wait_until(lambda: len(simulator.calls) == 1)
    assert simulator.calls[0].output_tokens == 20


@pytest.mark.parametrize("wire", WIRES)
async def test_trickle_completes_byte_by_byte(
    start: StartSimulator, client: httpx.AsyncClient, wire: str
) -> None:
    """The answer is good, and comes in many small pieces."""
    simulator = await start(trickle_interval_s=0.0005, output_tokens=1)
    async with client.stream(**call(simulator.url, wire, model="sim-fault-trickle")) as response:
        pieces = [piece async for piece in response.aiter_raw()]
    assert len(pieces) > 5
    assert answer_text(wire, orjson.loads(b"".join(pieces))).startswith("echo ")


@pytest.mark.parametrize(("fault", "status"), [("hang", 499), ("hang-after-headers", 200)])
async def test_hang_lasts_until_client_leaves(
    start: StartSimulator, client: httpx.AsyncClient, fault: str, status: int
) -> None:
    """The call is over, and its slot free, only when the client gave up."""
    simulator = await start()
    with pytest.raises(httpx.ReadTimeout):
        await client.post(f"{simulator.url}/api/chat", json=body("ollama", f"sim-fault-{fault}"), timeout=0.2)
    await wait_until(lambda: len(simulator.calls) == 1)
    assert (simulator.calls[0].status, simulator.stats()["in_flight"]) == (status, 0)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("is_stream", [False, True])
async def test_oversize_body_reaches_configured_size(
    start: StartSimulator, client: httpx.AsyncClient, wire: str, is_stream: bool
) -> None:
    """The body is complete, and as large as asked for."""
    simulator = await start(oversize_bytes=3_000_000)
    response = await chat(client, simulator.url, wire, model="sim-fault-oversize", stream=is_stream)
    assert len(response.content) == 3_000_000
    assert simulator.calls[0].fault == "oversize"


async def test_oversize_body_is_valid_json(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """Only the size is wrong, whatever the model is called."""
    simulator = await start(oversize_bytes=100_000)
    response = await chat(client, simulator.url, "openai", model="echo/sim-fault-oversize")
    assert len(answer_text("openai", response.json())) > 99_000


async def test_fault_first_lets_retries_succeed(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """Each distinct request fails its first calls, then never again."""
    url = (await start(faults={"500": 1.0}, fault_first=2)).url
    statuses = [
        (await chat(client, url, "openai", user=user)).status_code for user in ("a", "b", "a", "b", "a", "b")
    ]
    assert statuses == [500, 500, 500, 500, 200, 200]


async def test_directive_first_overrides_settings(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """A model's own count holds, and its later calls are good even where the mix says otherwise."""
    simulator = await start(faults={"503": 1.0})
    model = "vendor/sim-fault-500-first-1:free"
    statuses = [(await chat(client, simulator.url, "openai", model=model)).status_code for _ in range(2)]
    assert statuses == [500, 200]
    assert simulator.calls[0].digest == request_digest(model, "hi")


async def test_latency_directive_delays_only_its_calls(
    start: StartSimulator, client: httpx.AsyncClient
) -> None:
    """One model is slow, another is not delayed at all."""
    simulator = await start(latency=30)
    await chat(client, simulator.url, "openai", model="sim-latency-0.2")
    await chat(client, simulator.url, "openai", model="sim-latency-0")
    slow, fast = [record.ended_at - record.arrived_at for record in simulator.calls]
    assert slow > 0.19 > fast


@pytest.mark.parametrize("fault", ["429", "429-quota", "402", "404-model", "bad-key"])
async def test_front_door_refusals_skip_latency(
    start: StartSimulator, client: httpx.AsyncClient, fault: str
) -> None:
    """A provider refuses without running the model."""
    simulator = await start(latency=30)
    await chat(client, simulator.url, "openai", model=f"sim-fault-{fault}")
    assert simulator.calls[0].fault == fault


async def test_mistyped_directive_is_refused(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """A typo must not pass for a good answer."""
    response = await chat(client, (await start()).url, "openai", model="sim-fault-501")
    assert response.status_code == 400
    assert "reset-mid" in error_text("openai", response)


@pytest.mark.parametrize("fault", list(Fault))
def test_every_fault_has_directive(fault: Fault) -> None:
    """Names that start alike (`429`, `429-bare`) are told apart."""
    directive = directive_in(f"sim-fault-{fault}-first-3-latency-0.5")
    assert directive is not None
    assert (directive.fault, directive.first, directive.latency_s) == (fault, 3, 0.5)


@pytest.mark.parametrize(
    ("draw", "fault"), [(0.0, "500"), (0.19, "500"), (0.2, "reset"), (0.49, "reset"), (0.5, None)]
)
def test_mix_shares_the_draw(draw: float, fault: str | None) -> None:
    """Each fault takes its probability's share, the rest is good."""
    assert choose_fault({Fault.SERVER_ERROR: 0.2, Fault.RESET: 0.3}, draw) == fault
