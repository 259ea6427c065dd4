"""Down hard: connections reset, new ones refused, and back on the same port."""

from __future__ import annotations

import asyncio
import socket
from urllib.parse import urlsplit

import httpx
import pytest

from simulator import Simulator
from tests.simulator.calls import chat
from tests.simulator.conftest import StartSimulator
from tests.simulator.test_cli import running
from tests.support import wait_until


async def is_refused(url: str) -> bool:
    """Whether nobody listens."""
    address = urlsplit(url)
    try:
        _, writer = await asyncio.open_connection(address.hostname, address.port)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


async def test_closed_port_refuses_and_comes_back(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """Same URL before and after; settings, records and what is left of the limits stay."""
    simulator = await start(rpm=2)
    url = simulator.url
    await chat(client, url, "openai")
    await simulator.close_port()
    with pytest.raises(httpx.ConnectError):
        await chat(client, url, "openai")
    await simulator.open_port()
    assert simulator.url == url
    assert [(await chat(client, url, "openai")).status_code for _ in range(2)] == [200, 429]
    assert [record.status for record in simulator.calls] == [200, 200, 429]


async def test_outage_resets_running_calls(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """The client sees a reset, the slot is free, and the call is recorded without a status."""
    simulator = await start()
    call = asyncio.create_task(chat(client, simulator.url, "openai", model="sim-latency-60"))
    await wait_until(lambda: simulator.stats()["in_flight"] == 1)
    await simulator.close_port()
    with pytest.raises(httpx.ReadError):
        await call
    assert (simulator.calls[0].status, simulator.stats()["in_flight"]) == (None, 0)


@pytest.mark.parametrize("turns", range(6))
async def test_outage_resets_who_was_just_let_in(start: StartSimulator, turns: int) -> None:
    """However far the event loop has got with a new connection, it does not survive."""
    simulator = await start()
    address = urlsplit(simulator.url)
    with socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=10) as early:
        for _ in range(turns):
            await asyncio.sleep(0)
        await simulator.close_port()
        early.setblocking(False)
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(asyncio.get_running_loop().sock_recv(early, 1), 10)


async def test_port_stays_reserved_in_an_outage(start: StartSimulator) -> None:
    """The kernel gives it to nobody else who asks for a free one, or coming back would fail."""
    simulator = await start()
    address = urlsplit(simulator.url)
    await simulator.close_port()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((address.hostname, address.port))


async def test_closing_and_opening_twice_does_no_harm(
    start: StartSimulator, client: httpx.AsyncClient
) -> None:
    """Each is a state, not a count."""
    simulator = await start()
    await simulator.close_port()
    await simulator.close_port()
    await simulator.open_port()
    await simulator.open_port()
    assert (await chat(client, simulator.url, "openai")).status_code == 200


async def test_stop_ends_an_outage_for_good() -> None:
    """The port is free for others after a stop, and opening it later does nothing."""
    async with Simulator() as simulator:
        await simulator.close_port()
    await simulator.open_port()
    address = urlsplit(simulator.url)
    socket.create_server((str(address.hostname), int(address.port or 0))).close()
    assert await is_refused(simulator.url)


async def test_control_page_begins_outage_that_ends(client: httpx.AsyncClient) -> None:
    """The command, on whatever event loop it runs, answers, is away for as long as asked, and answers again."""
    async with running() as (_, line):
        url = line.rpartition(" ")[2]
        answer = await client.post(f"{url}/_sim/outage", json={"duration_s": 0.3})
        assert (answer.status_code, answer.json()) == (200, {})
        async with asyncio.timeout(10):
            while not await is_refused(url):
                await asyncio.sleep(0.005)
            while await is_refused(url):
                await asyncio.sleep(0.005)
        assert (await chat(client, url, "openai")).status_code == 200


async def test_stop_cancels_outage_under_way(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """It would strike a simulator that was started again."""
    simulator = await start()
    before = asyncio.all_tasks()
    await client.post(f"{simulator.url}/_sim/outage", json={"duration_s": 60})
    (outage,) = asyncio.all_tasks() - before
    await simulator.stop()
    await asyncio.wait([outage], timeout=10)
    assert outage.cancelled()


@pytest.mark.parametrize("body", [b"", b"{}", b'{"duration_s": 0}', b'{"duration_s": 1, "port": 2}'])
async def test_outage_without_proper_length_is_refused(
    start: StartSimulator, client: httpx.AsyncClient, body: bytes
) -> None:
    """Nothing happens but the complaint."""
    url = (await start()).url
    assert (await client.post(f"{url}/_sim/outage", content=body)).status_code == 400
    assert (await chat(client, url, "openai")).status_code == 200
