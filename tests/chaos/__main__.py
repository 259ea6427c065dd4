"""`python -m tests.chaos --minutes M --seed S`: a random nemesis, checked, with a table of what it came to."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import tempfile
from pathlib import Path

from tests.chaos.checker import Broken
from tests.chaos.nemesis import run


def main() -> int:
    """Run; exit code 1 when an invariant does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=None, help="replays a schedule; default: a fresh one")
    args = parser.parse_args()
    seed = secrets.randbelow(1_000_000) if args.seed is None else args.seed
    folder = Path(tempfile.mkdtemp(prefix=f"chatq-chaos-{seed}-"))
    print(f"seed {seed}, history in {folder / 'journal.jsonl'}", flush=True)
    try:
        report = asyncio.run(run(folder, minutes=args.minutes, seed=seed))
    except Broken as exc:
        print(f"BROKEN: {exc}\nreplay: make chaos MINUTES={args.minutes:g} SEED={seed}", file=sys.stderr)
        return 1
    for name, value in report.rows():
        print(f"{name:26} {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
