"""`python -m simulator`: the command `chatq simulate` on its own."""

from __future__ import annotations

from simulator.cli import simulate

simulate()
