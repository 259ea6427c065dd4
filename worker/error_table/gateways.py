"""Gateways in front of many vendors: OpenRouter and OpenCode (docs/provider-wire.md §3, §4)."""

from __future__ import annotations

from worker.error_table.meaning import (
    BAD_REQUEST,
    CONTENT_REFUSED,
    NO_CREDIT,
    NO_SUCH_FEATURE,
    NO_SUCH_MODEL,
    NOT_IN_PLAN,
    SESSION_REFUSED,
    TOO_LONG,
    UNFIT,
    WRONG_ADDRESS,
    broken,
    limited,
    quota,
    refused_field,
)
from worker.error_table.row import row
from worker.quota_window import session_s, until_monday_s, until_next_month_s, until_utc_midnight_s

_SIZE = "^error_type=(context_length_exceeded|max_tokens_exceeded|token_limit_exceeded|string_too_long)$"

VENDOR_WALLET = quota("model", own_s=(600, 3600))
"""The gateway's own account at a vendor is empty: only it can top up, and our key is as good as before."""

OPENROUTER = (
    row(400, "reasoning is mandatory", means=refused_field("reasoning", "reasoning_effort")),
    row((400, 403), "^raw=.*(insufficient.{0,20}(balance|funds|quota)|current quota)", means=VENDOR_WALLET),
    row((200, 400), _SIZE, means=TOO_LONG),
    row((200, 400), "^error_type=(content_policy_violation|refusal)$", means=CONTENT_REFUSED),
    row(403, "^(reasons|patterns|flagged_input)=", means=CONTENT_REFUSED),
    row(400, "^availability=", means=NO_SUCH_MODEL),
    row(412, means=BAD_REQUEST),
    row(402, "^limit_source=openrouter_in_flight_budget$", "^header:retry-after=", means=limited("account")),
    row(403, "^limit_source=", "^resets_at=", means=quota()),
    row(403, "^limit_source=", means=NO_CREDIT),
    row(403, "^availability=", means=NO_SUCH_MODEL),
    # Not the model, but what this job asks of it, finds no endpoint.
    row(404, "^code=constraint_filtered$", means=UNFIT),
    row(404, "no endpoints found that (can )?support", means=NO_SUCH_FEATURE),
    # Limits of the `:free` models: paid ones of the same key go on, so the model is closed, not the account.
    row(429, "free-models-per-day", means=quota("model", window=until_utc_midnight_s)),
    row(429, "^header:x-ratelimit-|free-models-per-min", means=limited("model", dimension="requests")),
    row(429, "^(provider_name|raw|availability)=", means=limited("model", own_s=(5, 30))),
    row((524, 529), means=broken("model")),
)

_CLASS = "^type=({})$"

OPENCODE = (
    row(400, "missingsessionid|missing_session_id", means=SESSION_REFUSED),
    row(400, "requires global regions", means=NOT_IN_PLAN),
    row(403, _CLASS.format("regionerror|datapolicyerror|freetiererror|entitlementerror"), means=NOT_IN_PLAN),
    row(401, _CLASS.format("creditserror|monthlylimiterror|userlimiterror"), means=NO_CREDIT),
    row(401, _CLASS.format("modelerror"), means=NO_SUCH_MODEL),
    row((400, 402, 403), "error from provider.{0,60}insufficient", means=VENDOR_WALLET),
    row(410, means=WRONG_ADDRESS),
    row(429, "^type=gousagelimiterror$", "^limitname=5 hour", means=quota(window=session_s)),
    row(429, "^type=gousagelimiterror$", "^limitname=weekly", means=quota(window=until_monday_s)),
    row(429, "^type=gousagelimiterror$", "^limitname=monthly", means=quota(window=until_next_month_s)),
    row(429, _CLASS.format("gousagelimiterror|blackusagelimiterror"), means=quota(own_s=(900, 18_000))),
    # As with OpenRouter's `:free` models, paid ones go on.
    row(429, "^type=freeusagelimiterror$", means=quota("model", window=until_utc_midnight_s)),
    row(429, "^type=ratelimiterror$", means=limited("account", own_s=(5, 60))),
    row(429, means=limited("model", own_s=(5, 60))),
    row((500, 503), means=broken("model", own_s=(5, 60))),
)

OPENCODE_REST = (row(400, means=UNFIT),)
"""After what is told by text everywhere: a 400 may be a vendor's 404, so it is never the job's last word."""
