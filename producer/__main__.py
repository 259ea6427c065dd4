"""`python -m producer`: the command line, where no `chatq` is on PATH."""

from __future__ import annotations

from producer.cli.main import main

if __name__ == "__main__":
    main()
