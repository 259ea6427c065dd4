"""Signatures are what OpenAI's SDK and the Standard Webhooks library verify."""

from __future__ import annotations

import base64
import time

import openai
import pytest
import standardwebhooks
from pydantic import SecretStr

from producer.webhooks.event import Notice, event_of
from producer.webhooks.signature import signed_headers
from tests.producer.receiver import SECRET

NOTICE = Notice("https://example.com", "batch.completed", 1_700_000_000.25, {"id": "batch_1"}, "alice")
EVENT = event_of("batch:batch_1", NOTICE)


def headers(secret: str = SECRET, *, age_s: int = 0) -> dict[str, str]:
    return signed_headers(SecretStr(secret), EVENT.id, int(time.time()) - age_s, EVENT.body)


def client(secret: str) -> openai.OpenAI:
    return openai.OpenAI(api_key="k", webhook_secret=secret)


@pytest.mark.parametrize("secret", [SECRET, "any text that is long enough", "wörter"])
def test_openai_sdk_takes_it(secret: str) -> None:
    """As the typed event of its kind, with secrets of both forms."""
    event = client(secret).webhooks.unwrap(EVENT.body, headers(secret))
    assert event.type == "batch.completed"
    assert (event.id, event.data.id, event.created_at) == (EVENT.id, "batch_1", 1_700_000_000)


def test_standard_webhooks_takes_it() -> None:
    event = standardwebhooks.Webhook(SECRET).verify(EVENT.body, headers())
    assert event["data"] == {"id": "batch_1"}


def test_raw_secret_is_the_key_as_it_stands() -> None:
    key = base64.b64encode(b"any text").decode()
    standardwebhooks.Webhook(f"whsec_{key}").verify(EVENT.body, headers("any text"))


def test_other_secret_is_refused() -> None:
    other = "whsec_" + base64.b64encode(b"another secret").decode()
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client(other).webhooks.unwrap(EVENT.body, headers())


def test_changed_body_is_refused() -> None:
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client(SECRET).webhooks.unwrap(EVENT.body.replace(b"batch_1", b"batch_2"), headers())


def test_old_call_is_refused() -> None:
    """The time is signed, too: who recorded a call cannot use it for ever."""
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client(SECRET).webhooks.unwrap(EVENT.body, headers(age_s=600))
    with pytest.raises(openai.InvalidWebhookSignatureError):
        fresh = headers(age_s=600) | {"webhook-timestamp": str(int(time.time()))}
        client(SECRET).webhooks.unwrap(EVENT.body, fresh)


def test_same_end_is_the_same_event() -> None:
    """Byte by byte; another end of the same object is another event."""
    assert event_of("batch:batch_1", NOTICE) == EVENT
    later = Notice("https://example.com", "batch.completed", 1_700_000_001.25, {"id": "batch_1"}, "alice")
    failed = Notice("https://example.com", "batch.failed", 1_700_000_000.25, {"id": "batch_1"}, "alice")
    ids = {event_of("batch:batch_1", notice).id for notice in (NOTICE, later, failed)}
    assert len(ids | {event_of("batch:batch_2", NOTICE).id}) == 4
