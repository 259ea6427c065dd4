"""Limits in the settings: of accounts, of models, of clients, and what entries of one account may state."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import ConfigError
from shared.settings import (
    AccountLimits,
    AdmissionSettings,
    BreakerSettings,
    ClientLimitSettings,
    LaneBounds,
    LimitSettings,
    Settings,
    load_settings,
)


def load(tmp_path: Path, text: str, **env: str) -> Settings:
    path = tmp_path / "a.toml"
    path.write_text(text)
    return load_settings(path, env=env)


def test_nothing_is_limited_by_default(tmp_path: Path) -> None:
    """No provider has known limits, no client has any, and no lane is bounded."""
    settings = load(tmp_path, "[clients.a]\n")
    assert {spec.limits for spec in settings.providers.values()} == {LimitSettings()}
    assert settings.clients["a"].limits == ClientLimitSettings()
    assert settings.admission == AdmissionSettings(
        interactive=LaneBounds(max_jobs=0), default=LaneBounds(max_bytes=0), batch=LaneBounds(max_age_s=0)
    )


def test_every_limit_can_be_stated(tmp_path: Path) -> None:
    """For an account, for a model with any name, and for a client."""
    settings = load(
        tmp_path,
        """
        [providers.lab.limits]
        rpm = 600
        tpm = 100_000
        concurrency = 50
        slice_s = 1
        charge = "max(prompt,max)"
        [providers.lab.models."org/m-1.5:70b".limits]
        tpm = 1_000_000_000_000
        [clients."a b"]
        weight = 1000
        limits = { rpm = 1, slice_s = 0.05 }
        """,
    )
    lab, client = settings.providers["lab"], settings.clients["a b"]
    assert lab.limits == LimitSettings(
        rpm=600, tpm=100_000, concurrency=50, slice_s=1, charge="max(prompt,max)"
    )
    assert lab.models["org/m-1.5:70b"].limits.tpm == 10**12
    assert (client.weight, client.limits) == (1000, ClientLimitSettings(rpm=1, slice_s=0.05))


def test_builtin_provider_keeps_its_address_beside_limits(tmp_path: Path) -> None:
    """Limits for a built-in provider change nothing else of it."""
    spec = load(tmp_path, "[providers.kimi.limits]\nrpm = 5\n").providers["kimi"]
    assert (spec.base_url, spec.key_env, spec.limits.rpm) == (
        "https://api.kimi.com/coding/v1",
        "KIMI_API_KEY",
        5,
    )


@pytest.mark.parametrize("second", ["", "limits = { rpm = 60 }", "limits = { slice_s = 0.5 }"])
def test_limits_of_an_account_are_found_at_any_entry(tmp_path: Path, second: str) -> None:
    """Stated once, or alike, or not at all: an entry of defaults states nothing."""
    settings = load(
        tmp_path, f'[providers.b]\naccount = "kimi"\n{second}\n[providers.kimi.limits]\nrpm = 60\n'
    )
    limits = AccountLimits(settings.providers)
    assert limits.of("kimi") == LimitSettings(rpm=60)
    assert limits.of("b") == LimitSettings()


def test_models_of_an_account_are_those_of_all_its_entries(tmp_path: Path) -> None:
    """The provider counts per account and model, whichever key is used."""
    settings = load(
        tmp_path,
        "[providers.kimi.models.a.limits]\nrpm = 1\n"
        '[providers.b]\naccount = "kimi"\nmodels.b.limits = { rpm = 2 }\nmodels.none = {}\n',
    )
    models = AccountLimits(settings.providers).models_of("kimi")
    assert {model: entry.limits.rpm for model, entry in models.items()} == {"a": 1, "b": 2}


def test_conflict_of_file_and_variable_names_the_variable(tmp_path: Path) -> None:
    """The operator is sent to the place that was laid over the file."""
    text = '[providers.a]\naccount = "t"\nlimits = { rpm = 1 }\n[providers.b]\naccount = "t"\n'
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, CHATQ_PROVIDERS__B__LIMITS__RPM="2")
    assert str(caught.value) == (
        f"{tmp_path / 'a.toml'}, CHATQ_PROVIDERS__B__LIMITS__RPM: providers.b.limits differs from "
        "providers.a.limits, but both draw on account 't'; state its limits once, or alike"
    )


def test_breaker_may_stay_open_equally_long_each_time() -> None:
    """The first and the longest time may be the same."""
    assert BreakerSettings(open_s=300).max_open_s == 300


def test_spool_folder_in_home_is_resolved(tmp_path: Path) -> None:
    """`~` is the home of the process."""
    assert load(tmp_path, '[worker]\nspool_dir = "~/spool"\n', HOME="/h").worker.spool_dir == "/h/spool"
