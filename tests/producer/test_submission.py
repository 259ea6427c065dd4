"""Submissions: what is wrong with one is told for that one, and the same request is the same job."""

from __future__ import annotations

import math
from typing import Any

import pytest

from producer import Producer, Submission
from shared.errors import IdempotencyConflict, InvalidRequest

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"source": "a\nb"}, "source"),
        ({"source": ""}, "source"),
        ({"client": "ü"}, "client"),
        ({"metadata": {"x": object()}}, "metadata"),
        ({"metadata": {"x": "y" * 20_000}}, "metadata"),
        ({"source": 7}, "source"),
        ({"client": None}, "client"),
        ({"metadata": "abc"}, "metadata"),
        ({"metadata": {7: "x"}}, "metadata"),
        ({"metadata": ""}, "metadata"),
        ({"metadata": {"x": "\ud800"}}, "metadata"),
        ({"idempotency_key": ""}, "idempotency_key"),
        ({"idempotency_key": "\ud800"}, "idempotency_key"),
        ({"idempotency_key": "k" * 513}, "idempotency_key"),
        ({"idempotency_key": b"k"}, "idempotency_key"),
        ({"idempotency_key": 7}, "idempotency_key"),
        ({"expires_in_s": 0}, "expires_in_s"),
        ({"expires_in_s": math.nan}, "expires_in_s"),
        ({"expires_in_s": math.inf}, "expires_in_s"),
        ({"expires_in_s": "60"}, "expires_in_s"),
        ({"expires_in_s": True}, "expires_in_s"),
        ({"expires_in_s": 366 * 86_400 + 1}, "expires_in_s"),
        ({"expires_in_s": 10**400}, "expires_in_s"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"max_attempts": "3"}, "max_attempts"),
        ({"max_attempts": True}, "max_attempts"),
        ({"max_attempts": 2.0}, "max_attempts"),
        ({"stream": 1}, "stream"),
        ({"webhook_url": ""}, "webhook_url"),
        ({"webhook_url": "ftp://example.com"}, "webhook_url"),
        ({"webhook_url": "https://"}, "webhook_url"),
        ({"webhook_url": "https://example.com/a b"}, "webhook_url"),
        ({"webhook_url": "https://example.com/" + "a" * 2048}, "webhook_url"),
        ({"webhook_url": 7}, "webhook_url"),
        ({"lane": "bogus"}, "lane"),
        ({"lane": None}, "lane"),
        ({"lane": []}, "lane"),
    ],
)
async def test_bad_option_names_its_field(producer: Producer, options: dict[str, Any], field: str) -> None:
    """That one submission is rejected, with the field's name; its neighbours go on."""
    bad, good = await producer.submit_many([Submission(CHAT, **options), Submission(CHAT)])
    assert isinstance(bad, InvalidRequest)
    assert bad.field == field
    assert isinstance(good, str)
    assert (await producer.status()).totals == {"accepted": 1}


@pytest.mark.parametrize(
    "request_body",
    [
        *(None, 7, "x", [], {7: 1}, {**CHAT, "model": "\ud800"}, {**CHAT, "x": "\ud800"}),
        {**CHAT, "responses_request": {"input": "what nobody has checked"}},
    ],
)
async def test_bad_request_is_rejected_alone(producer: Producer, request_body: Any) -> None:
    """Whatever stands where the request should be."""
    bad, good = await producer.submit_many([Submission(request_body), Submission(CHAT)])
    assert isinstance(bad, InvalidRequest)
    assert isinstance(good, str)


async def test_lane_may_be_its_value(producer: Producer) -> None:
    """Callers that read it from somewhere have a string."""
    assert (await producer.get(await producer.submit(CHAT, lane="batch"))).lane == "batch"


async def test_order_of_fields_is_no_other_request(producer: Producer) -> None:
    """Under an idempotency key, nested and unknown fields may come in any order."""
    one = {**CHAT, "x_a": 1, "x_b": {"c": 1, "d": [{"e": 1, "f": 2}]}}
    same = {"x_b": {"d": [{"f": 2, "e": 1}], "c": 1}, "x_a": 1, **CHAT}
    other = {**one, "x_a": 2}
    job_id = await producer.submit(one, idempotency_key="k")
    assert await producer.submit(same, idempotency_key="k") == job_id
    with pytest.raises(IdempotencyConflict):
        await producer.submit(other, idempotency_key="k")
