"""`CHATQ_*` variables: how they name a setting, how they are read, and which ones are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import ConfigError
from shared.settings import load_settings


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings file of the checkout is found by chance."""
    monkeypatch.chdir(tmp_path)


def test_variable_wins_over_the_file(tmp_path: Path) -> None:
    """The environment is laid over the file, key by key."""
    path = tmp_path / "a.toml"
    path.write_text("[worker]\nconcurrency = 7\nprocesses = 2\n")
    worker = load_settings(path, env={"CHATQ_WORKER__CONCURRENCY": "100"}).worker
    assert (worker.concurrency, worker.processes) == (100, 2)


@pytest.mark.parametrize(
    ("variable", "text", "section", "key", "value"),
    [
        ("CHATQ_WORKER__CONCURRENCY", "1_000", "worker", "concurrency", 1000),
        ("CHATQ_WORKER__GRACE_S", "2.5", "worker", "grace_s", 2.5),
        ("CHATQ_WORKER__PROVIDERS", '["ollama", "kimi"]', "worker", "providers", ("ollama", "kimi")),
        ("CHATQ_TELEMETRY__ENABLED", "false", "telemetry", "enabled", False),
        ("CHATQ_LOG__LEVEL", "debug", "log", "level", "debug"),
        ("CHATQ_RQ__MIRROR", '"full"', "rq", "mirror", "full"),
        ("CHATQ_REDIS__DATA_DIR", "/srv/redis", "redis", "data_dir", Path("/srv/redis")),
        ("CHATQ_REDIS__URL", "redis://a:1/0", "redis", "url", "redis://a:1/0"),
        ("CHATQ_REDIS_URL", "redis://a:1/0", "redis", "url", "redis://a:1/0"),
        ("CHATQ_REDIS_URL", "", "redis", "url", ""),
        ("CHATQ_MODELS__LOCAL_FAST", "tiny", "models", "local_fast", "tiny"),
        ("CHATQ_MODELS__LOCAL_FAST", "123", "models", "local_fast", "123"),
        ("CHATQ_API__BIND", "[::1]:80", "api", "bind", "[::1]:80"),
    ],
)
def test_value_is_read_as_its_key_wants(
    variable: str, text: str, section: str, key: str, value: object
) -> None:
    """TOML where a number, switch or list belongs; the text as it stands where text belongs."""
    settings = load_settings(env={variable: text})
    assert getattr(getattr(settings, section), key) == value


def test_token_of_digits_stays_text() -> None:
    """A token that looks like a number or a switch is still a token."""
    assert load_settings(env={"CHATQ_AUTH__TOKEN": "12345"}).auth.token.get_secret_value() == "12345"
    assert load_settings(env={"CHATQ_AUTH__TOKEN": "true"}).auth.token.get_secret_value() == "true"


def test_line_break_sets_no_second_key() -> None:
    """A value with a line break is one text, not a piece of TOML."""
    token = load_settings(env={"CHATQ_AUTH__TOKEN": "1\nother = 2"}).auth.token
    assert token.get_secret_value() == "1\nother = 2"


def test_short_redis_name_wins_over_nested() -> None:
    """`CHATQ_REDIS_URL` is the documented name."""
    env = {"CHATQ_REDIS_URL": "redis://short:1", "CHATQ_REDIS__URL": "redis://nested:1"}
    assert load_settings(env=env).redis.url == "redis://short:1"


def test_provider_keys_are_reached_by_name() -> None:
    """Built-in and new providers are set alike; tables are written as TOML."""
    env = {
        "CHATQ_PROVIDERS__OLLAMA__BASE_URL": "",
        "CHATQ_PROVIDERS__LAB__BASE_URL": "http://lab:1",
        "CHATQ_PROVIDERS__LAB__HEADERS": '{ "X-Team" = "a" }',
    }
    providers = load_settings(env=env).providers
    assert providers["ollama"].base_url == ""
    assert providers["lab"].headers == {"X-Team": "a"}


def test_names_with_dashes_are_found(tmp_path: Path) -> None:
    """Variables have no dashes and no small letters, so they mean the file's key that reads the same."""
    path = tmp_path / "a.toml"
    path.write_text('[providers.my-lab]\nbase_url = "http://a"\n[models]\nBig-One = "a"\n')
    env = {"CHATQ_PROVIDERS__MY_LAB__BASE_URL": "http://b", "CHATQ_MODELS__BIG_ONE": "b"}
    settings = load_settings(path, env=env)
    assert settings.providers["my-lab"].base_url == "http://b"
    assert settings.models.tiers["Big-One"] == "b"
    assert "my_lab" not in settings.providers


def test_keys_of_inner_tables_are_reached() -> None:
    """Two underscores lead into a table inside a table, also behind a name that has two itself."""
    env = {
        "CHATQ_PROVIDERS__LAB__LIMITS__RPM": "600",
        "CHATQ_PROVIDERS__LAB__LIMITS__CHARGE": "max(prompt,max)",
        "CHATQ_PROVIDERS__LAB__MODELS__LLAMA__LIMITS__CONCURRENCY": "2",
        "CHATQ_PROVIDERS__A__B__ACCOUNT": "123",
        "CHATQ_PROVIDERS__A__B__LIMITS": "{ tpm = 1_000 }",
        "CHATQ_CLIENTS__NIGHTLY__WEIGHT": "3",
        "CHATQ_CLIENTS__NIGHTLY__LIMITS__TPM": "500",
        "CHATQ_ADMISSION__BATCH__MAX_JOBS": "9",
    }
    settings = load_settings(env=env)
    lab, other = settings.providers["lab"], settings.providers["a__b"]
    assert (lab.limits.rpm, lab.limits.charge) == (600, "max(prompt,max)")
    assert lab.models["llama"].limits.concurrency == 2
    assert (other.account, other.limits.tpm) == ("123", 1000)
    assert (settings.clients["nightly"].weight, settings.clients["nightly"].limits.tpm) == (3, 500)
    assert (settings.admission.batch.max_jobs, settings.admission.default.max_jobs) == (9, 0)


def test_names_with_other_signs_are_found(tmp_path: Path) -> None:
    """What a variable cannot spell, such as a model's colon, is read as `_`."""
    path = tmp_path / "a.toml"
    path.write_text('[providers.kimi.models."K2.6:1m".limits]\nrpm = 1\n[clients."Team A"]\nweight = 2\n')
    env = {
        "CHATQ_PROVIDERS__KIMI__MODELS__K2_6_1M__LIMITS__RPM": "5",
        "CHATQ_CLIENTS__TEAM_A__LIMITS__RPM": "7",
    }
    settings = load_settings(path, env=env)
    assert {model: entry.limits.rpm for model, entry in settings.providers["kimi"].models.items()} == {
        "K2.6:1m": 5
    }
    assert {name: (entry.weight, entry.limits.rpm) for name, entry in settings.clients.items()} == {
        "Team A": (2, 7)
    }


SECTIONS = (
    "providers, clients, models, groups, catalogue, routing, breaker, admission, redis, jobs, lanes, "
    "worker, telemetry, rq, auth, log, api, files, batches, webhooks"
)
SCHEME = (
    "allowed: CHATQ_CONFIG, CHATQ_REDIS_URL, CHATQ_<SECTION>__<KEY>, CHATQ_PROVIDERS__<NAME>__<KEY>, "
    f"CHATQ_CLIENTS__<ID>__<KEY> and CHATQ_GROUPS__<ID>__<KEY>, where a KEY may be <TABLE>__<KEY>, "
    f"with section {SECTIONS}"
)


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("CHATQ_FOO", "1", f"CHATQ_FOO is not a setting; {SCHEME}"),
        ("CHATQ_FOO__BAR", "1", f"CHATQ_FOO__BAR is not a setting; {SCHEME}"),
        ("CHATQ_WORKER", "1", f"CHATQ_WORKER is not a setting; {SCHEME}"),
        ("CHATQ_", "1", f"CHATQ_ is not a setting; {SCHEME}"),
        ("CHATQ_PROVIDERS__LAB", "1", f"CHATQ_PROVIDERS__LAB is not a setting; {SCHEME}"),
        ("CHATQ_CLIENTS__X", "1", f"CHATQ_CLIENTS__X is not a setting; {SCHEME}"),
        (
            "CHATQ_WORKER__POLL_S__X",
            "1",
            f"CHATQ_WORKER__POLL_S__X is not a setting (did you mean 'CHATQ_WORKER__POLL_S'?); {SCHEME}",
        ),
        ("CHATQ_CLIENTS____WEIGHT", "1", f"CHATQ_CLIENTS____WEIGHT is not a setting; {SCHEME}"),
        (
            "CHATQ_ADMISSION__BACH__MAX_JOBS",
            "1",
            "CHATQ_ADMISSION__BACH__MAX_JOBS is not a setting "
            f"(did you mean 'CHATQ_ADMISSION__BATCH__MAX_JOBS'?); {SCHEME}",
        ),
        (
            "CHATQ_PROVIDERS__X__LIMITS__RPMS",
            "1",
            "CHATQ_PROVIDERS__X__LIMITS__RPMS is not a known key (did you mean 'rpm'?); "
            "allowed: rpm, tpm, concurrency, slice_s, charge",
        ),
        (
            "CHATQ_PROVIDERS__X__LIMITS",
            "{ rpm = 0 }",
            "CHATQ_PROVIDERS__X__LIMITS: providers.x.limits.rpm is 0; allowed: a whole number from 1 to 10000000",
        ),
        ("CHATQ_ADMISSION__BATCH", "5", "CHATQ_ADMISSION__BATCH is 5; allowed: a table"),
        (
            "CHATQ_WORKER_CONCURRENCY",
            "1",
            "CHATQ_WORKER_CONCURRENCY is not a setting (did you mean 'CHATQ_WORKER__CONCURRENCY'?); "
            + SCHEME,
        ),
        (
            "CHATQ_LANES__BATCHES",
            "1",
            "CHATQ_LANES__BATCHES is not a known key (did you mean 'batch'?); "
            "allowed: interactive, default, batch",
        ),
        (
            "CHATQ_WORKER__CONCURRENCY",
            "0",
            "CHATQ_WORKER__CONCURRENCY is 0; allowed: a whole number from 1 to 20000",
        ),
        (
            "CHATQ_WORKER__CONCURRENCY",
            "many",
            "CHATQ_WORKER__CONCURRENCY is a text; allowed: a whole number from 1 to 20000",
        ),
        (
            "CHATQ_WORKER__CONCURRENCY",
            "",
            "CHATQ_WORKER__CONCURRENCY is empty; allowed: a whole number from 1 to 20000",
        ),
        (
            "CHATQ_WORKER__PROVIDERS",
            "ollama,kimi",
            'CHATQ_WORKER__PROVIDERS is a text; allowed: a list of texts, like ["a", "b"]',
        ),
        ("CHATQ_TELEMETRY__ENABLED", "1", "CHATQ_TELEMETRY__ENABLED is 1; allowed: true or false"),
        (
            "CHATQ_REDIS_URL",
            "http://a",
            "CHATQ_REDIS_URL must be a redis://, rediss://, unix:// or Sentinel address, or empty",
        ),
    ],
)
def test_wrong_variable_is_named_with_what_is_allowed(variable: str, text: str, message: str) -> None:
    """The operator reads which variable to change, and to what."""
    with pytest.raises(ConfigError) as caught:
        load_settings(env={variable: text})
    assert str(caught.value) == message


def test_rule_broken_by_both_sources_names_both(tmp_path: Path) -> None:
    """When file and environment only together break a rule, neither alone is to blame."""
    path = tmp_path / "a.toml"
    path.write_text("[worker]\nlease_s = 40\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(path, env={"CHATQ_WORKER__RENEW_S": "20"})
    assert str(caught.value).startswith(f"{path}, CHATQ_WORKER__RENEW_S: [worker] renew_s (20) must be less")


def test_other_programs_variables_are_left_alone() -> None:
    """Only names that start with `CHATQ_` are chatq's."""
    assert load_settings(env={"CHATQS": "1", "MY_CHATQ_X": "1", "PATH": "/bin"}).worker.concurrency == 500
