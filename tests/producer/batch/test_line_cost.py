"""The cost of a line, at the end of its record."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.batch.line_cost import NOTHING, LineCost, cost_of, read_cost, total
from producer.batch.reader import BadLine
from producer.batch.record import BUDGET_REACHED, bad_line_record, job_record, read_head
from producer.job_cost import JobCost
from shared.job import JobState

from .memory_client import job

RUN = "0123456789abcdef"

amounts = st.decimals(0, 10**6, places=9)


@given(st.builds(LineCost, amounts, st.integers(0, 10**6), amounts), st.text())
def test_record_keeps_the_cost(cost: LineCost, text: str) -> None:
    """Exactly, whatever the answer is."""
    answer = {"text": text, "chatq": {"cost_usd": 7, "cost_unknown": 7}}
    record = job_record(RUN, 1, text or "a", job("j", JobState.COMPLETED, response=answer), cost)
    head = read_head(record)
    assert head is not None
    assert head.cost == cost
    assert (
        read_cost(json.dumps(json.loads(record), indent=None).encode() + b"\n").counted_usd
        == cost.counted_usd
    )


@pytest.mark.parametrize(
    "tail",
    [
        b"}",
        b'"chatq":{"cost_usd":1,"cost_unknown":0}',
        b'{"chatq":{}}',
    ],
)
def test_record_without_a_cost_is_unknown(tail: bytes) -> None:
    """Whoever wrote it."""
    assert read_cost(b'{"id":"batch_req_' + tail + b"\n") == LineCost(unknown=1)


@pytest.mark.parametrize("digits", [b"1.2.3", b".", b"-1", b"1e99"])
def test_amount_of_others_making_is_none(digits: bytes) -> None:
    assert read_cost(b'"chatq":{"cost_usd":%s,"cost_unknown":0}}\n' % digits) == NOTHING


def test_unknown_calls_are_assumed_to_cost_the_estimate() -> None:
    """A limit that took them for nothing would be none."""
    cost = cost_of(JobCost(Decimal(1), 2), Decimal("0.25"))
    assert (cost.assumed_usd, cost.counted_usd) == (Decimal("0.5"), Decimal("1.5"))
    assert total([cost, cost, NOTHING]) == LineCost(Decimal(2), 4, Decimal(1))


def test_line_that_was_left_out_is_told_from_others() -> None:
    """Only our own record of it counts, not a text that looks like it."""
    mark = bad_line_record(RUN, BadLine(3, '"error":{"code":"budget_reached"', BUDGET_REACHED, "spent"))
    other = bad_line_record(
        RUN, BadLine(3, '"response":null,"error":{"code":"budget_reached"', "invalid", "x")
    )
    assert [(head := read_head(line)) is not None and head.is_mark for line in (mark, other)] == [True, False]
