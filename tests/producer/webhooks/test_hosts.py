"""Hosts: one receiver has a share of the places, and the others are told when to come back."""

from __future__ import annotations

import pytest

from producer.webhooks.hosts import FIRST_GUESS_S, Hosts


def test_host_has_so_many_places() -> None:
    """Whatever the other hosts do."""
    hosts = Hosts(2)
    assert [hosts.enter("a", now=0.0), hosts.enter("a", now=0.0), hosts.enter("b", now=0.0)] == [None] * 3
    assert hosts.enter("a", now=0.0) is not None
    hosts.leave("a", took_s=1.0)
    assert hosts.enter("a", now=0.0) is None


def test_who_finds_it_full_comes_back_in_turn() -> None:
    """As fast as the host answers: looking more often would change nothing."""
    hosts = Hosts(2)
    for _ in range(2):
        hosts.enter("a", now=100.0)
    waits = [hosts.enter("a", now=100.0) for _ in range(3)]
    assert waits == pytest.approx([FIRST_GUESS_S / 2, FIRST_GUESS_S, FIRST_GUESS_S * 1.5])


def test_usual_time_is_learned() -> None:
    """A slow host's queue is looked at less often."""
    hosts = Hosts(2)
    hosts.enter("a", now=0.0)
    for _ in range(20):
        hosts.enter("a", now=0.0)
        hosts.leave("a", took_s=10.0)
    hosts.enter("a", now=0.0)
    assert hosts.enter("a", now=0.0) == pytest.approx(5.0, rel=0.01)
