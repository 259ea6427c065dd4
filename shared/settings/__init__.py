"""Settings: what the operator decides, read once per entry point and passed down."""

from shared.settings.accounts import AccountLimits
from shared.settings.admission import AdmissionSettings, LaneBounds
from shared.settings.batches import BatchSettings, FileSettings
from shared.settings.breaker import BreakerSettings
from shared.settings.builtin_providers import BUILTIN_PROVIDERS
from shared.settings.clients import ClientSettings
from shared.settings.group_graph import find_faults, follow_tiers
from shared.settings.groups import (
    MAX_TARGETS,
    ConditionSettings,
    GroupId,
    GroupSettings,
    RuleSettings,
    Strategy,
)
from shared.settings.limits import Charge, ClientLimitSettings, LimitSettings
from shared.settings.load import load_settings
from shared.settings.masking import shown_headers, shown_url
from shared.settings.provider import ProviderModelSettings, ProviderSettings, Wire
from shared.settings.raw import shown_key
from shared.settings.sections import (
    ApiSettings,
    AuthSettings,
    JobSettings,
    LaneSettings,
    LogSettings,
    RedisSettings,
    RoutingSettings,
    RqSettings,
    TelemetrySettings,
    WorkerSettings,
)
from shared.settings.seed_groups import SEED_GROUPS, seed_groups
from shared.settings.tiers import ModelSettings
from shared.settings.tree import Settings
from shared.settings.webhooks import SECRET_PREFIX, WebhookSettings

__all__ = [
    "BUILTIN_PROVIDERS",
    "MAX_TARGETS",
    "SECRET_PREFIX",
    "SEED_GROUPS",
    "AccountLimits",
    "AdmissionSettings",
    "ApiSettings",
    "AuthSettings",
    "BatchSettings",
    "BreakerSettings",
    "Charge",
    "ClientLimitSettings",
    "ClientSettings",
    "ConditionSettings",
    "FileSettings",
    "GroupId",
    "GroupSettings",
    "JobSettings",
    "LaneBounds",
    "LaneSettings",
    "LimitSettings",
    "LogSettings",
    "ModelSettings",
    "ProviderModelSettings",
    "ProviderSettings",
    "RedisSettings",
    "RoutingSettings",
    "RqSettings",
    "RuleSettings",
    "Settings",
    "Strategy",
    "TelemetrySettings",
    "WebhookSettings",
    "Wire",
    "WorkerSettings",
    "find_faults",
    "follow_tiers",
    "load_settings",
    "seed_groups",
    "shown_headers",
    "shown_key",
    "shown_url",
]
