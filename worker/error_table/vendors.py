"""Vendors of their own models: OpenAI, Gemini, DeepSeek, xAI, MiMo, Anthropic (provider-wire.md §7-§11, §13)."""

from __future__ import annotations

from worker.error_table.meaning import (
    BAD_KEY,
    BAD_REQUEST,
    CONTENT_REFUSED,
    EFFORT_REFUSED,
    HISTORY_REFUSED,
    NO_CREDIT,
    NO_SUCH_FEATURE,
    SAMPLING_IS_FIXED,
    broken,
    limited,
    quota,
    refused_field,
)
from worker.error_table.row import row
from worker.quota_window import until_next_month_s, until_pacific_midnight_s

OPENAI = (
    # Unverified organisations get some models unstreamed only.
    row(400, "^param=stream$", means=refused_field("stream", "stream_options")),
    # `none` is how chatq says `think: false`; any other effort is the caller's own.
    row(400, "^param=reasoning_effort$", "does not support 'none'", means=EFFORT_REFUSED),
    # On the Responses wire an effort that is refused goes, whoever's it was. Summaries of thoughts are for
    # verified organisations only; the effort stays.
    row(400, r"^param=reasoning\.effort$", means=EFFORT_REFUSED),
    row(400, r"^param=reasoning\.summary$", means=refused_field("reasoning.summary")),
    row(400, "^param=reasoning$", means=refused_field("reasoning")),
    # A message of another vendor's, given back: who made it may take it.
    row(400, r"^param=(messages|input)\[\d+\]\.", "^code=unknown_parameter$", means=HISTORY_REFUSED),
    row(429, "slow_down", means=limited("account", own_s=(60, 600))),
    row(429, "resource unavailable", means=limited("model", own_s=(30, 600))),
)

_THINKING = (
    "^message=.*(thinking.{0,3}(budget|level|config|mode|is not (enabled|supported))|include_?thoughts)"
)

GEMINI = (
    row(400, "api_key_invalid|api key (not valid|expired)", means=BAD_KEY),
    row(400, "failed_precondition", means=BAD_KEY),
    row(400, _THINKING, means=refused_field("generationConfig.thinkingConfig")),
    # `quotaId` is not reliable: ids that say PerDay came with a delay of 36 s, and the delay is right.
    row(429, "^quotaid=.*perday", "^wait=none$", means=quota("model", window=until_pacific_midnight_s)),
    row(429, means=limited("model", own_s=(60, 3600))),
)

_REASONING_HISTORY = "reasoning_content.{0,80}(passed back|go back|missing|required)"

DEEPSEEK = (
    row(400, _REASONING_HISTORY, means=HISTORY_REFUSED),
    row(429, means=limited("model", own_s=(2, 15), dimension="concurrency")),
)

XAI = (
    row(400, "not support.{0,40}(reasoning_?effort)", means=EFFORT_REFUSED),
    row((403, 429), "used all available credits|spending.limit", means=NO_CREDIT),
    row((405, 415), means=BAD_REQUEST),
    row(429, means=limited("model", own_s=(1, 60))),
)

MIMO = (
    row(400, _REASONING_HISTORY, means=HISTORY_REFUSED),
    # On a Token Plan a burst looks like this (user reports); an empty account goes on saying so.
    row(402, "^type=server_error$", means=limited("account", own_s=(30, 60))),
    row(404, "image", means=NO_SUCH_FEATURE),
    row(421, means=CONTENT_REFUSED),
    row(429, means=limited("model", own_s=(5, 600))),
)

_THOUGHTS_REFUSED = "bound to a different conversation|invalid .signature. in .thinking. block"

ANTHROPIC = (
    row(
        400, "(temperature|top_p|top_k).{0,60}(deprecated|not supported|not allowed)", means=SAMPLING_IS_FIXED
    ),
    # Thoughts go back signed; from Claude 5.1 on they hold for one conversation, unchanged up to there.
    row(400, _THOUGHTS_REFUSED, means=HISTORY_REFUSED),
    row(400, r"^message=.{0,20}\bthinking\b", means=refused_field("thinking")),
    row(400, "organization_on_hold|specified api usage limits|spend limit|credit balance", means=NO_CREDIT),
    row(429, "enforced_spend_limit_reached", means=quota(window=until_next_month_s)),
    row(429, "contract_spend_limit_reached", means=NO_CREDIT),
    row(429, "ramp_limit_exceeded", means=limited("account", own_s=(5, 60))),
    row(529, means=broken("provider", own_s=(5, 120), code="overloaded")),
)
