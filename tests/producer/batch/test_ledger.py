"""The ledger: first uses and recorded lines."""

from __future__ import annotations

import resource

from producer.batch.ledger import Ledger, id_hash


def test_id_is_first_once() -> None:
    """The second time it is not."""
    ledger = Ledger()
    assert [ledger.is_first(word) for word in ("a", "b", "a", "ä", "ä")] == [True, True, False, True, False]
    ledger.close()


def test_recorded_line_is_found_by_number() -> None:
    """With the hash of its id; others are not recorded."""
    ledger = Ledger()
    ledger.note_recorded([(3, "c"), (1, "a"), (3, "later")])
    assert [ledger.recorded_hash(n) for n in (1, 2, 3, 4)] == [id_hash("a"), None, id_hash("c"), None]
    assert ledger.last_recorded == 3
    ledger.close()


def test_memory_stays_flat_over_many_ids() -> None:
    """Three hundred thousand ids and lines cost no more than the cache."""
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ledger = Ledger()
    ledger.note_recorded((number, f"id-{number}") for number in range(300_000))
    assert all(ledger.is_first(f"id-{number}") for number in range(300_000))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 40 * 1024
    ledger.close()
