"""What holds for every server: proxies in front, texts that all have copied, and the status last of all."""

from __future__ import annotations

from worker.error_table.meaning import (
    BAD_KEY,
    BAD_REQUEST,
    CANNOT_THINK,
    CONTENT_REFUSED,
    NO_CREDIT,
    NO_SUCH_FEATURE,
    NO_SUCH_MODEL,
    REDIRECTED,
    TOO_LONG,
    UNFIT,
    WRONG_ADDRESS,
    broken,
    limited,
    refused_field,
)
from worker.error_table.row import row

_CLIENT_ERRORS = range(400, 500)
_SERVER_ERRORS = range(500, 1000)
_EDGE_ERRORS = (498, *range(520, 525), 529)
_REFUSALS = (200, 400, 413, 422)
"""Where a refusal of this very request may stand."""

_NO_CREDIT = (
    "insufficient_quota|credit_balance_exhausted|(organization|project)_spend_limit_exceeded"
    "|organization_usage_limit_exceeded|billing_not_active|insufficient.{0,20}(balance|funds)"
    "|exceeded your current quota"
)
_TOO_LONG = (
    "context_length_exceeded|exceed_context_size|model_context_window_exceeded"
    "|(context|input|prompt).{0,40}(length|size|window|tokens?|long).{0,60}(exceed|longer|larger|greater|maximum)"
    "|(exceed|maximum|longer than).{0,40}(context|number of tokens|input length)"
    "|(prompt|input|request) is too long|maximum (context|prompt) length|reduce the length"
)
_CONTENT_REFUSED = "content_policy|content_filter|content exists risk|content management policy"
_NO_SUCH_FEATURE = (
    r"(model|endpoint|provider)\b.{0,80}(does not|doesn't|do not) support"
    "|does not support (tools|images|vision|function|chat|generate)"
)
_NO_SUCH_MODEL = "model_not_found|(model|models) .{0,120}(not found|does not exist)|not a valid model"

TEXTS = (
    row((400, 422), "stream_options", means=refused_field("stream_options")),
    row(400, "does not support thinking", means=CANNOT_THINK),
    row((200, 400, 401, 402, 403, 429), _NO_CREDIT, means=NO_CREDIT),
    row(_REFUSALS, _TOO_LONG, means=TOO_LONG),
    row((*_REFUSALS, 403), _CONTENT_REFUSED, means=CONTENT_REFUSED),
    row((200, 400, 422), _NO_SUCH_MODEL, means=NO_SUCH_MODEL),
    row((200, 400, 404, 422), _NO_SUCH_FEATURE, means=NO_SUCH_FEATURE),
    row(400, "invalid_api_key|(incorrect|invalid) api key", means=BAD_KEY),
)

STATUSES = (
    row(range(300, 400), means=REDIRECTED),
    row(404, "^html=", means=WRONG_ADDRESS),
    # A page instead of JSON is a proxy's. Its 401 and 413 mean what they say.
    row((403, *_SERVER_ERRORS), "^html=", means=broken("provider", code="proxy_error")),
    row(429, "^html=", means=limited("provider")),
    row(_EDGE_ERRORS, means=broken("provider", code="proxy_error")),
    row((401, 403), means=BAD_KEY),
    row(402, means=NO_CREDIT),
    row((404, 410), means=NO_SUCH_MODEL),
    row((429, 450), means=limited("model")),
    row((408, 409, 425, 499), means=broken("model")),
    row((400, 413, 422), means=BAD_REQUEST),
    row(501, means=NO_SUCH_FEATURE),
    row(_SERVER_ERRORS, means=broken("model")),
    row(_CLIENT_ERRORS, means=UNFIT),
    row(200, means=broken("model", code="error_in_answer")),
)
"""The last word. Every status an answer can have is in one of them."""
