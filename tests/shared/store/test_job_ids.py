"""Job ids: sorted by time, and never the same twice, whoever makes them."""

from __future__ import annotations

import os
import re
import time
from concurrent.futures import ThreadPoolExecutor

from shared.store.jobs import new_id


def test_id_is_time_and_chance() -> None:
    before = time.time_ns() // 1_000_000
    made = [new_id() for _ in range(1000)]
    assert all(re.fullmatch(r"[0-9a-f]{32}", job_id) for job_id in made)
    assert before <= int(made[0][:12], 16) <= int(made[-1][:12], 16) <= time.time_ns() // 1_000_000
    assert len({job_id[12:] for job_id in made}) == 1000


def test_threads_make_different_ones() -> None:
    with ThreadPoolExecutor(8) as pool:
        made = [
            job_id for ids in pool.map(lambda _: [new_id() for _ in range(500)], range(16)) for job_id in ids
        ]
    assert len({job_id[12:] for job_id in made}) == len(made)


def test_forked_process_makes_its_own() -> None:
    """What was drawn before belongs to the parent."""
    new_id()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, "".join(new_id()[12:] for _ in range(32)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        theirs = pipe.read().decode()
    os.waitpid(child, 0)
    ours = {new_id()[12:] for _ in range(64)}
    assert len(theirs) == 32 * 20
    assert ours.isdisjoint(theirs[start : start + 20] for start in range(0, len(theirs), 20))
