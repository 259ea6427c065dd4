"""Ollama's daemon and Ollama Cloud (docs/provider-wire.md §1, §2)."""

from __future__ import annotations

from shared.errors import Scope
from worker.error_table.meaning import NO_SUCH_FEATURE, NOT_IN_PLAN, NOT_SIGNED_IN, broken, limited, quota
from worker.error_table.row import Row, row
from worker.quota_window import hour_s, session_s, week_s


def _limits(scope: Scope) -> tuple[Row, ...]:
    """The cloud's limits, which the daemon passes on with status and text."""
    return (
        row(429, "concurrent request", means=limited("model", own_s=(5, 60), dimension="concurrency")),
        row(429, "hour.{0,20} usage limit", means=quota(scope, window=hour_s)),
        row(429, "week.{0,20} usage limit", means=quota(scope, window=week_s)),
        row(429, "usage limit", means=quota(scope, window=session_s)),
    )


# Not taken out and remembered for the model, as a field it cannot take is: left out, `think` means true, and
# the model would think for all jobs.
_WRONG_LEVEL = row(400, "think value|invalid think", means=NO_SUCH_FEATURE)

CLOUD = (
    _WRONG_LEVEL,
    row(402, "not included in your free usage", means=NOT_IN_PLAN),
    row(403, "requires a subscription", means=NOT_IN_PLAN),
    *_limits("account"),
    row((500, 503), means=broken("model", own_s=(2, 30))),
)

BUSY = row(503, "server busy", means=limited("provider", own_s=(2, 10), dimension="concurrency"))
"""Said on its OpenAI-like wire too, where the daemon is a server like any other."""

DAEMON = (
    _WRONG_LEVEL,
    # What the cloud refuses through the daemon closes that model only: the daemon's own models need neither
    # key nor plan.
    row(401, means=NOT_SIGNED_IN),
    row((402, 403), means=NOT_IN_PLAN),
    *_limits("model"),
    BUSY,
    row(500, means=broken("model", own_s=(30, 300))),
    row((502, 503), means=broken("model", own_s=(2, 30))),
)
