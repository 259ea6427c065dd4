from __future__ import annotations

import httpx
import pytest
from pydantic import ValidationError

from simulator import Simulator, SimulatorConfig
from tests.simulator.calls import chat


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.1", "::", "example.org", ""])
def test_other_than_loopback_is_refused(host: str) -> None:
    """The simulator answers anybody, so only this machine may ask."""
    with pytest.raises(ValidationError, match="loopback"):
        SimulatorConfig(host=host)


async def test_taken_port_raises_os_error() -> None:
    """A second simulator on the same port fails to start, and the first one goes on."""
    async with Simulator() as first:
        port = int(first.url.rpartition(":")[2])
        with pytest.raises(OSError, match="address already in use"):
            await Simulator(SimulatorConfig(port=port)).start()


async def test_stopped_simulator_refuses_connections(client: httpx.AsyncClient) -> None:
    """After a stop nobody answers; a second stop does no harm."""
    async with Simulator() as simulator:
        assert (await chat(client, simulator.url, "openai")).status_code == 200
    await simulator.stop()
    with pytest.raises(httpx.ConnectError):
        await chat(client, simulator.url, "openai")


async def test_config_never_prints_key() -> None:
    """Neither text form of the settings holds the key."""
    config = SimulatorConfig(key="very-secret")
    assert "very-secret" not in f"{config!r} {config} {config.model_dump_json()}"
