"""Webhooks that OpenAI's client verifies and types (openai-wire §9)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue

import openai
import pytest

from tests.clients.served import WEBHOOK_SECRET

from .batches import line, start, until_ended

Delivery = tuple[dict[str, str], bytes]


class Receiver:
    """Somebody's server.

    Attributes:
        url: Its address.
        deliveries: Headers and body of each call, as they come.
    """

    def __init__(self) -> None:
        self.deliveries: Queue[Delivery] = Queue()
        deliveries = self.deliveries

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                deliveries.put((dict(self.headers.items()), body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/told"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    opened = Receiver()
    thread = threading.Thread(target=opened.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield opened
    opened.server.shutdown()
    opened.server.server_close()
    thread.join()


def test_end_of_a_batch_is_told(client: openai.OpenAI, receiver: Receiver) -> None:
    """Once it has ended; the signature is right, and another secret's is not."""
    made = start(client, [line("1", "openrouter/told")], metadata={"webhook_url": receiver.url})
    headers, body = receiver.deliveries.get(timeout=20)
    event = client.webhooks.unwrap(body, headers, secret=WEBHOOK_SECRET)
    assert event.type == "batch.completed"
    assert event.data.id == made.id and event.id.startswith("evt_")
    assert client.batches.retrieve(made.id).status == "completed"
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.unwrap(body, headers, secret="whsec_" + "b3RoZXI=" * 4)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.unwrap(body + b" ", headers, secret=WEBHOOK_SECRET)


def test_failed_batch_is_told(client: openai.OpenAI, receiver: Receiver) -> None:
    made = start(client, ["{broken"], metadata={"webhook_url": receiver.url})
    headers, body = receiver.deliveries.get(timeout=20)
    event = client.webhooks.unwrap(body, headers, secret=WEBHOOK_SECRET)
    assert (event.type, event.data.id) == ("batch.failed", made.id)
    assert until_ended(client, made.id).status == "failed"


@pytest.mark.parametrize(
    ("model", "kind"), [("told", "response.completed"), ("sim-fault-500", "response.failed")]
)
def test_end_of_a_background_response_is_told(
    client: openai.OpenAI, receiver: Receiver, model: str, kind: str
) -> None:
    """Completed or failed."""
    made = client.responses.create(
        model=f"openrouter/{model}",
        input="hi",
        background=True,
        extra_body={"chatq": {"webhook_url": receiver.url}},
    )
    headers, body = receiver.deliveries.get(timeout=20)
    event = client.webhooks.unwrap(body, headers, secret=WEBHOOK_SECRET)
    assert (event.type, event.data.id) == (kind, made.id)
