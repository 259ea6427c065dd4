from __future__ import annotations

from typing import Any

import httpx
import pytest

from simulator import Simulator
from tests.simulator.calls import chat
from tests.simulator.conftest import StartSimulator


async def test_stats_count_by_status_wire_and_fault(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """The page and the method give the same counts."""
    simulator = await start()
    await chat(client, simulator.url, "openai")
    await chat(client, simulator.url, "ollama", model="sim-fault-500")
    with pytest.raises(httpx.ReadError):
        await chat(client, simulator.url, "ollama", model="sim-fault-reset")
    stats = (await client.get(f"{simulator.url}/_sim/stats")).json()
    assert stats == simulator.stats()
    assert stats["by_status"] == {"200": 1, "500": 1, "none": 1}
    assert stats["by_wire"] == {"openai": 1, "ollama": 2}
    assert stats["by_fault"] == {"500": 1, "reset": 1}
    assert (stats["calls"], stats["in_flight"], stats["max_in_flight"]) == (3, 0, 1)


async def test_reset_forgets_calls_and_fills_limits(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """After a reset everything is as at the start, except the settings."""
    simulator = await start(rpm=1, faults={"500": 1}, fault_first=1)
    assert (await chat(client, simulator.url, "openai")).status_code == 500
    assert (await chat(client, simulator.url, "openai")).status_code == 429
    await client.post(f"{simulator.url}/_sim/reset")
    assert (simulator.calls, simulator.stats()["calls"]) == ([], 0)
    assert (await chat(client, simulator.url, "openai")).status_code == 500
    assert simulator.calls[0].n == 1


async def test_set_changes_behaviour_while_running(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """Faults, limits and latency take effect with the next call."""
    simulator = await start(latency=60, key="secret")
    changes = {"faults": {"503": 1.0}, "latency": "uniform:0,0.001", "rpm": 5, "models": ["a"]}
    answer = await client.post(f"{simulator.url}/_sim/set", json=changes)
    assert answer.json()["latency"] == "uniform:0,0.001"
    assert "secret" not in answer.text
    headers = {"authorization": "Bearer secret"}
    assert (await chat(client, simulator.url, "openai", model="a", headers=headers)).status_code == 503
    assert (await chat(client, simulator.url, "openai", model="b", headers=headers)).status_code == 404


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"rpm": 0}, "rpm"),
        ({"faults": {"nonsense": 1}}, "faults.nonsense"),
        ({"faults": {"500": 0.7, "503": 0.7}}, "add up to 1.4"),
        ({"latency": "soon"}, "not a distribution"),
        ({"port": 1}, "cannot change"),
        ({"colour": "red"}, "colour"),
        ({"model_limits": {"m": {"rpm": 0}}}, "model_limits.m.rpm"),
        ({"slice_s": 0}, "slice_s"),
        ({"charge": "twice"}, "charge"),
    ],
)
async def test_set_refuses_wrong_values(
    start: StartSimulator, client: httpx.AsyncClient, changes: dict[str, Any], complaint: str
) -> None:
    """The answer says what is wrong, and nothing changes."""
    simulator = await start()
    before = simulator.config
    answer = await client.post(f"{simulator.url}/_sim/set", json=changes)
    assert (answer.status_code, complaint in answer.json()["error"]) == (400, True)
    assert simulator.config is before


@pytest.mark.parametrize("content", [b"", b"[1]"])
async def test_set_refuses_what_is_no_object(
    start: StartSimulator, client: httpx.AsyncClient, content: bytes
) -> None:
    """Settings come as a JSON object."""
    answer = await client.post(f"{(await start()).url}/_sim/set", content=content)
    assert answer.status_code == 400


async def test_unknown_page_names_the_known(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """A wrong page or method is answered with what there is."""
    answer = await client.get(f"{(await start()).url}/_sim/set")
    assert (answer.status_code, "/_sim/stats" in answer.json()["error"]) == (404, True)


async def test_set_method_changes_settings(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """In-process tests change settings without HTTP."""
    simulator: Simulator = await start()
    simulator.set(faults={"html": 1.0})
    assert (await chat(client, simulator.url, "openai")).text.startswith("<!DOCTYPE html>")
