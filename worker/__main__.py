"""`python -m worker`: the worker without the rest of the command line, for process managers."""

from __future__ import annotations

import sys

from shared.errors import ChatqError
from worker.cli import worker

if __name__ == "__main__":
    try:
        worker(prog_name="chatq worker")
    except ChatqError as exc:
        print(f"chatq: {exc}", file=sys.stderr)
        sys.exit(exc.exit_code)
