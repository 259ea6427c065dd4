"""Settings: what the operator decides, read once per entry point and passed down."""

from shared.settings.load import load_settings
from shared.settings.masking import shown_headers, shown_url
from shared.settings.provider import BUILTIN_PROVIDERS, ProviderSettings, Wire
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
from shared.settings.tiers import ModelSettings
from shared.settings.tree import Settings

__all__ = [
    "BUILTIN_PROVIDERS",
    "ApiSettings",
    "AuthSettings",
    "JobSettings",
    "LaneSettings",
    "LogSettings",
    "ModelSettings",
    "ProviderSettings",
    "RedisSettings",
    "RoutingSettings",
    "RqSettings",
    "Settings",
    "TelemetrySettings",
    "Wire",
    "WorkerSettings",
    "load_settings",
    "shown_headers",
    "shown_url",
]
