"""Settings as a whole: every section, where they came from, and rules between sections."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from shared.settings.accounts import AccountLimits
from shared.settings.admission import AdmissionSettings
from shared.settings.batches import BatchSettings, FileSettings
from shared.settings.breaker import BreakerSettings
from shared.settings.builtin_providers import BUILTIN_PROVIDERS
from shared.settings.catalogue import ModelEntry, ModelKey
from shared.settings.clients import ClientId, ClientSettings
from shared.settings.group_graph import find_faults
from shared.settings.groups import GroupId, GroupSettings
from shared.settings.provider import ProviderName, ProviderSettings, builtin_providers
from shared.settings.raw import KeyPath
from shared.settings.section import Section
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
from shared.settings.seed_groups import over_the_seeds, seed_groups
from shared.settings.tiers import ModelSettings
from shared.settings.webhooks import WebhookSettings


class Settings(Section):
    """All settings. Built once per entry point by `load_settings` and passed down."""

    providers: dict[ProviderName, ProviderSettings] = Field(default_factory=builtin_providers)
    """Every configured provider by name, built-in ones first; `ProviderRegistry` knows which have a key."""

    clients: dict[ClientId, ClientSettings] = Field(default_factory=dict)
    """Clients with a weight or limits of their own; all others have the defaults."""

    models: ModelSettings = ModelSettings()
    groups: dict[GroupId, GroupSettings] = Field(default_factory=dict)
    """Groups of the file; the seeds that it does not name are not among them."""

    catalogue: dict[ModelKey, ModelEntry] = Field(default_factory=dict)
    """What the operator knows of models: their limits, and what they cost."""

    routing: RoutingSettings = RoutingSettings()
    breaker: BreakerSettings = BreakerSettings()
    admission: AdmissionSettings = AdmissionSettings()
    redis: RedisSettings = Field(default_factory=RedisSettings)
    jobs: JobSettings = JobSettings()
    lanes: LaneSettings = LaneSettings()
    worker: WorkerSettings = WorkerSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    rq: RqSettings = RqSettings()
    auth: AuthSettings = AuthSettings()
    log: LogSettings = LogSettings()
    api: ApiSettings = ApiSettings()
    files: FileSettings = FileSettings()
    batches: BatchSettings = BatchSettings()
    webhooks: WebhookSettings = WebhookSettings()

    source: Path | None = None
    """The file that was read, or None when there was none."""

    warnings: tuple[str, ...] = ()
    """What the operator should hear about the file, one line each; entry points print them."""

    @field_validator("providers", mode="before")
    @classmethod
    def _over_the_builtin_ones(cls, configured: Any) -> Any:
        if not isinstance(configured, Mapping):
            return configured
        merged: dict[str, Any] = {name: dict(spec) for name, spec in BUILTIN_PROVIDERS.items()}
        for name, entry in configured.items():
            merged[name] = {**merged.get(name, {}), **entry} if isinstance(entry, Mapping) else entry
        return merged

    @field_validator("groups", mode="before")
    @classmethod
    def _over_the_seeds(cls, configured: Any) -> Any:
        return over_the_seeds(configured) if isinstance(configured, Mapping) else configured

    @model_validator(mode="after")
    def _providers_exist(self) -> Self:
        named = {
            ("routing", "default_provider"): (self.routing.default_provider,),
            ("worker", "providers"): self.worker.providers,
            **{("catalogue", key): (key.partition("/")[0],) for key in self.catalogue},
        }
        for path, names in named.items():
            for name in names:
                if name not in self.providers:
                    known = ", ".join(self.providers)
                    # The path tells which key to blame: this rule stands between two sections.
                    raise PydanticCustomError(
                        "unknown_provider",
                        "names {name}, which is not in [providers]; allowed: {known}",
                        {"name": repr(name), "known": known, "path": path},
                    )
        return self

    @model_validator(mode="after")
    def _one_set_of_limits_per_account(self) -> Self:
        AccountLimits(self.providers)
        return self

    @model_validator(mode="after")
    def _groups_end_in_models(self) -> Self:
        for name in self.groups:
            if name in self.models.tiers:
                raise _wrong_group("has the name of a tier, which goes first", ("groups", name))
        faults = find_faults({**seed_groups(), **self.groups}, self.models.tiers)
        # Seeds are sound: what is wrong with one comes from a group of the file, or from a tier.
        for name, fault in sorted(faults.items(), key=lambda item: item[0] not in self.groups):
            raise _wrong_group(fault, ("groups", name) if name in self.groups else ("models",))
        return self


def _wrong_group(problem: str, path: KeyPath) -> PydanticCustomError:
    return PydanticCustomError("wrong_group", "{problem}", {"problem": problem, "path": path})


SECTIONS: tuple[str, ...] = tuple(
    name for name in Settings.model_fields if name not in ("source", "warnings")
)
"""What a settings file may have at its top level."""
