"""Every kind of bad settings file is refused in one line: file, key, what is allowed, and no secret."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from shared.errors import ConfigError
from shared.settings import load_settings
from shared.settings.quirk_names import QUIRKS

SECRET = "sk-seeded-secret-0123456789"
WORKER_KEYS = (
    "concurrency, processes, providers, grace_s, lease_s, renew_s, claim_batch, flush_ms, flush_batch, poll_s, "
    "metrics_port, spool_dir"
)
PROVIDER_KEYS = (
    "wire, base_url, key_env, key_file, key_header, headers, timeout_s, connect_timeout_s, stream, "
    "stall_timeout_s, extra_body, quirks, account, limits, models"
)
CLIENT_LIMIT_KEYS = "rpm, tpm, concurrency, slice_s"
LIMIT_KEYS = f"{CLIENT_LIMIT_KEYS}, charge"
SECTIONS = (
    "providers, clients, models, groups, catalogue, routing, breaker, admission, redis, jobs, lanes, "
    "worker, telemetry, rq, auth, log, api, files, batches, webhooks"
)
PROVIDERS = (
    "ollama, ollama_cloud, openrouter, opencode, kimi, "
    "openai, gemini, deepseek, moonshot, xai, xiaomi, anthropic"
)
ADDRESS = "must be an http:// or https:// address, or empty to switch the provider off"
NO_CREDENTIALS = "must have no user, password, query or fragment; use key_env, key_file or headers"

BAD_FILES = [
    # unknown sections and keys
    ("[wroker]", f"[wroker] is not a known section (did you mean 'worker'?); allowed: {SECTIONS}"),
    ("loose = 1", f"[loose] is not a known section; allowed: {SECTIONS}"),
    ('source = "x"', f"[source] is not a known section; allowed: {SECTIONS}"),
    (
        "[worker]\nconcurency = 5",
        f"worker.concurency is not a known key (did you mean 'concurrency'?); allowed: {WORKER_KEYS}",
    ),
    (
        f'[providers.x]\napi_key = "{SECRET}"',
        f"providers.x.api_key is not a known key; allowed: {PROVIDER_KEYS}",
    ),
    ("[providers.a.b]", f"providers.a.b is not a known key; allowed: {PROVIDER_KEYS}"),
    (
        "[providers.x.limits]\nrpms = 1",
        f"providers.x.limits.rpms is not a known key (did you mean 'rpm'?); allowed: {LIMIT_KEYS}",
    ),
    (
        "[providers.x.models.m]\nrpm = 1",
        "providers.x.models.m.rpm is not a known key; allowed: limits, wire, base_url_path, quirks",
    ),
    (
        '[providers.x.models."gpt-*".limits]\nrpm = 1',
        "providers.x has limits for the pattern 'gpt-*', but limits are one model's: state its exact name",
    ),
    (
        '[providers.x.models.m]\nbase_url_path = "../v1"',
        "providers.x.models.m.base_url_path must be a path like /anthropic/v1, or empty",
    ),
    ('[providers.x]\nkey_header = "a b"', "providers.x.key_header must be the name of a header, or empty"),
    (
        '[providers.x]\nquirks = ["no_top"]',
        f"providers.x.quirks lists 'no_top', which is no quirk; known: {', '.join(QUIRKS)}",
    ),
    (
        '[clients.a.limits]\ncharge = "prompt+max"',
        f"clients.a.limits.charge is not a known key; allowed: {CLIENT_LIMIT_KEYS}",
    ),
    ("[clients.a]\nrpm = 1", "clients.a.rpm is not a known key; allowed: weight, limits, budget_usd"),
    ("[admission.bulk]", "admission.bulk is not a known key; allowed: interactive, default, batch"),
    (
        "[admission.batch]\nmax_job = 1",
        "admission.batch.max_job is not a known key (did you mean 'max_jobs'?); "
        "allowed: max_jobs, max_bytes, max_age_s",
    ),
    # out of range
    ("[worker]\nconcurrency = 0", "worker.concurrency is 0; allowed: a whole number from 1 to 20000"),
    ("[worker]\nconcurrency = 20001", "worker.concurrency is 20001; allowed: a whole number from 1 to 20000"),
    ("[worker]\nprocesses = 65", "worker.processes is 65; allowed: a whole number from 1 to 64"),
    ("[worker]\npoll_s = nan", "worker.poll_s is nan; allowed: a number from 0.01 to 60"),
    ("[worker]\npoll_s = inf", "worker.poll_s is inf; allowed: a number from 0.01 to 60"),
    ("[lanes]\nbatch = 0", "lanes.batch is 0; allowed: a whole number from 1 to 1000"),
    ("[jobs]\nmax_attempts = 21", "jobs.max_attempts is 21; allowed: a whole number from 1 to 20"),
    ("[providers.x]\ntimeout_s = 0", "providers.x.timeout_s is 0; allowed: a number from 0.01 to 86400"),
    ('[log]\nlevel = "INFO"', 'log.level is \'INFO\'; allowed: "debug" or "info" or "warning" or "error"'),
    ('[rq]\nmirror = "all"', 'rq.mirror is \'all\'; allowed: "light" or "full"'),
    (
        '[providers.x]\nwire = "opnai"',
        'providers.x.wire is \'opnai\'; allowed: "openai" or "ollama" or "ollama_generate" or '
        '"gemini" or "anthropic" or "responses"',
    ),
    (
        "[providers.x.limits]\nrpm = 0",
        "providers.x.limits.rpm is 0; allowed: a whole number from 1 to 10000000",
    ),
    (
        '[providers.x.models."a/b:1.5".limits]\ntpm = 1000000000001',
        'providers.x.models."a/b:1.5".limits.tpm is 1000000000001; '
        "allowed: a whole number from 1 to 1000000000000",
    ),
    (
        "[providers.x.limits]\nslice_s = 0.01",
        "providers.x.limits.slice_s is 0.01; allowed: a number from 0.05 to 60",
    ),
    (
        '[providers.x.limits]\ncharge = "max"',
        "providers.x.limits.charge is 'max'; "
        'allowed: "prompt+max" or "max(prompt,max)" or "prompt_then_output"',
    ),
    ("[clients.a]\nweight = 0", "clients.a.weight is 0; allowed: a whole number from 1 to 1000"),
    (
        "[clients.a.limits]\nconcurrency = 0",
        "clients.a.limits.concurrency is 0; allowed: a whole number from 1 to 1000000",
    ),
    ("[breaker]\nfailure_ratio = 0.01", "breaker.failure_ratio is 0.01; allowed: a number from 0.05 to 1"),
    ("[breaker]\nprobes = 101", "breaker.probes is 101; allowed: a whole number from 1 to 100"),
    (
        "[admission.batch]\nmax_jobs = -1",
        "admission.batch.max_jobs is -1; allowed: a whole number from 0 to 1000000000",
    ),
    (
        "[routing]\nfailover_after_s = -1",
        "routing.failover_after_s is -1; allowed: a number from 0 to 86400",
    ),
    (
        "[worker]\nmetrics_port = 65536",
        "worker.metrics_port is 65536; allowed: a whole number from 0 to 65535",
    ),
    # wrong types, nothing converted
    ('[worker]\nconcurrency = "5"', "worker.concurrency is a text; allowed: a whole number from 1 to 20000"),
    ("[worker]\nconcurrency = true", "worker.concurrency is true; allowed: a whole number from 1 to 20000"),
    ("[worker]\nconcurrency = 5.5", "worker.concurrency is 5.5; allowed: a whole number from 1 to 20000"),
    ("[worker]\ngrace_s = 2026-01-01", "worker.grace_s is a date or time; allowed: a number from 0 to 3600"),
    ("worker = 5", "[worker] is 5; allowed: a table"),
    ("providers = 5", "[providers] is 5; allowed: a table"),
    ("redis = []", "[redis] is a list; allowed: a table"),
    ("[providers]\nollama = 5", "providers.ollama is 5; allowed: a table"),
    ("providers.x.limits = 5", "providers.x.limits is 5; allowed: a table"),
    ("providers.x.models = []", "providers.x.models is a list; allowed: a table"),
    ("providers.x.models.m = 5", "providers.x.models.m is 5; allowed: a table"),
    ("clients = 5", "[clients] is 5; allowed: a table"),
    ("clients.a = 5", "clients.a is 5; allowed: a table"),
    ("admission.batch = 5", "admission.batch is 5; allowed: a table"),
    (
        '[providers.x.limits]\nrpm = "5"',
        "providers.x.limits.rpm is a text; allowed: a whole number from 1 to 10000000",
    ),
    (
        "[providers.x.limits]\nrpm = true",
        "providers.x.limits.rpm is true; allowed: a whole number from 1 to 10000000",
    ),
    ("[providers.x]\naccount = 5", 'providers.x.account is a whole number; allowed: a text, like "x"'),
    ('[worker]\nproviders = "a"', 'worker.providers is a text; allowed: a list of texts, like ["a", "b"]'),
    (
        "[worker]\nproviders = [1]",
        'worker.providers has an entry that is a whole number; allowed: a list of texts, like ["a", "b"]',
    ),
    ("[redis]\ndata_dir = 5", 'redis.data_dir is a whole number; allowed: a text, like "x"'),
    ("[auth]\ntoken = 98765", 'auth.token is a whole number; allowed: a text, like "x"'),
    ('[telemetry]\nenabled = "yes"', "telemetry.enabled is a text; allowed: true or false"),
    (
        "[providers.x]\nextra_body = [1]",
        'providers.x.extra_body is a list; allowed: a table, like { a = "b" }',
    ),
    (
        "[providers.x]\nheaders = { A = 98765 }",
        'providers.x.headers has an entry that is a whole number; allowed: a table, like { a = "b" }',
    ),
    # addresses, names and headers
    ('[providers.x]\nbase_url = "ftp://x"', f"providers.x.base_url {ADDRESS}"),
    ('[providers.x]\nbase_url = "localhost:1"', f"providers.x.base_url {ADDRESS}"),
    ('[providers.x]\nbase_url = "http://x:99999"', f"providers.x.base_url {ADDRESS}"),
    ('[providers.x]\nbase_url = "http://[::1"', f"providers.x.base_url {ADDRESS}"),
    ('[providers.x]\nbase_url = "http://x y"', f"providers.x.base_url {ADDRESS}"),
    (f'[providers.x]\nbase_url = "http://u:{SECRET}@x"', f"providers.x.base_url {NO_CREDENTIALS}"),
    (f'[providers.x]\nbase_url = "http://x?key={SECRET}"', f"providers.x.base_url {NO_CREDENTIALS}"),
    (
        f'[providers.x]\nkey_env = "{SECRET}"',
        "providers.x.key_env must be the name of an environment variable (letters, digits, _), not the key itself",
    ),
    (
        f'[providers.x]\nheaders = {{ "A b" = "{SECRET}" }}',
        "providers.x.headers has a header that HTTP does not allow: 'A b'; use printable ASCII",
    ),
    (
        f'[providers.x]\nheaders = {{ A = "{SECRET}\\r\\nB: c" }}',
        "providers.x.headers has a header that HTTP does not allow: 'A'; use printable ASCII",
    ),
    ('[providers."a.b"]', "[providers] 'a.b' is not a provider name; allowed: a-z, 0-9, _ and -, up to 64"),
    ('[providers."a/b"]', "[providers] 'a/b' is not a provider name; allowed: a-z, 0-9, _ and -, up to 64"),
    ('[providers."a:b"]', "[providers] 'a:b' is not a provider name; allowed: a-z, 0-9, _ and -, up to 64"),
    (
        '[providers.x]\naccount = "A b"',
        "providers.x.account must be an account name (a-z, 0-9, _ and -, up to 64), or empty",
    ),
    (
        '[providers.x.models." m"]',
        "providers.x.models ' m' is not a model name; allowed: 1 to 256 characters, no blanks at the ends",
    ),
    (
        '[clients."a\\nb"]',
        "[clients] 'a\\nb' is not a client; allowed: 1 to 128 printable ASCII characters",
    ),
    (
        '[worker]\n"a\\nb\u2028é" = 1',
        f'worker."a\\nb\\u2028\\u00e9" is not a known key; allowed: {WORKER_KEYS}',
    ),
    (
        f'[redis]\nurl = "http://:{SECRET}@x"',
        "redis.url must be a redis://, rediss://, unix:// or Sentinel address, or empty",
    ),
    (
        '[auth]\nallowed_ips = ["here"]',
        'auth.allowed_ips must be IP addresses or networks, like "127.0.0.1" or "10.0.0.0/8"',
    ),
    ('[api]\nbind = "here"', 'api.bind must be an address and a port, like "127.0.0.1:3220" or "[::1]:3220"'),
    (
        '[api]\nbind = "a:99999"',
        'api.bind must be an address and a port, like "127.0.0.1:3220" or "[::1]:3220"',
    ),
    # models
    ('[models]\na = ""', "models.a is empty; allowed: a model name, 1 to 256 characters"),
    ("[models]\na = 5", "models.a is a whole number; allowed: a model name, 1 to 256 characters"),
    (f'[models]\na = "{"x" * 257}"', "models.a is too long; allowed: a model name, 1 to 256 characters"),
    ('[models]\na = "b"\nb = "a"', "[models] tiers name each other in a circle: a -> b -> a"),
    # rules over several keys
    (
        "[worker]\nrenew_s = 15",
        "[worker] renew_s (15) must be less than half of lease_s (30): one lost renewal must not cost the lease",
    ),
    ("[breaker]\nopen_s = 400", "[breaker] open_s (400) must not be over max_open_s (300)"),
    (
        '[providers.a]\naccount = "team"\nlimits = { rpm = 1 }\n'
        '[providers.b]\naccount = "team"\nlimits = { rpm = 2 }',
        "providers.b.limits differs from providers.a.limits, but both draw on account 'team'; "
        "state its limits once, or alike",
    ),
    (
        '[providers.kimi.models."k3:1m"]\nlimits = { rpm = 1 }\n'
        '[providers.b]\naccount = "kimi"\nmodels."k3:1m".limits = { rpm = 2 }',
        'providers.b.models."k3:1m".limits differs from providers.kimi.models."k3:1m".limits, '
        "but both draw on account 'kimi'; state its limits once, or alike",
    ),
    (
        "[webhooks]\nfirst_backoff_s = 60\nlongest_backoff_s = 30",
        "[webhooks] first_backoff_s (60) must not be over longest_backoff_s (30)",
    ),
    (
        f'[webhooks]\nsecret = "whsec_{SECRET}"',
        "webhooks.secret must be base64 after whsec_, or a text that does not start with whsec_",
    ),
    (
        '[webhooks]\nsecret = "whsec_"',
        "webhooks.secret must be base64 after whsec_, or a text that does not start with whsec_",
    ),
    ("[jobs]\nbackoff_base_s = 60", "[jobs] backoff_base_s (60) must not be over backoff_max_s (30)"),
    (
        '[routing]\ndefault_provider = "x"',
        f"routing.default_provider names 'x', which is not in [providers]; allowed: {PROVIDERS}",
    ),
    (
        '[worker]\nproviders = ["olama"]',
        f"worker.providers names 'olama', which is not in [providers]; allowed: {PROVIDERS}",
    ),
]


def refusal(path: Path) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_settings(path, env={})
    return caught.value


@pytest.mark.parametrize(("text", "message"), BAD_FILES, ids=[text for text, _ in BAD_FILES])
def test_bad_file_is_refused_in_words(tmp_path: Path, text: str, message: str) -> None:
    """File, key and what is allowed, exactly."""
    path = tmp_path / "bad.toml"
    path.write_text(text, encoding="utf-8")
    assert str(refusal(path)) == f"{path}: {message}"


@pytest.mark.parametrize("text", [text for text, _ in BAD_FILES if SECRET in text or "98765" in text])
def test_refusal_never_quotes_a_secret(tmp_path: Path, text: str) -> None:
    """Neither the message nor the whole traceback with its chained errors shows what stood there."""
    path = tmp_path / "bad.toml"
    path.write_text(text)
    shown = "".join(traceback.format_exception(refusal(path)))
    assert SECRET not in shown
    assert "98765" not in shown


def test_broken_toml_names_line_and_column(tmp_path: Path) -> None:
    """Syntax errors say where."""
    path = tmp_path / "bad.toml"
    path.write_text(f'[auth]\ntoken = "{SECRET}\n')
    error = refusal(path)
    assert str(error).startswith(f"{path} is not valid TOML: ")
    assert "line 2" in str(error)
    assert SECRET not in "".join(traceback.format_exception(error))


def test_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are not guessed at."""
    path = tmp_path / "bad.toml"
    path.write_bytes(b"\xff\xfe[\x00")
    assert str(refusal(path)) == f"{path} is not UTF-8 text; save it as UTF-8"


def test_folder_in_place_of_file_is_refused(tmp_path: Path) -> None:
    """What cannot be read is an error, since it exists."""
    assert str(refusal(tmp_path)) == f"{tmp_path} cannot be read: Is a directory"


def test_many_problems_fit_into_one_line(tmp_path: Path) -> None:
    """All problems are reported at once, five in words and the rest counted."""
    path = tmp_path / "bad.toml"
    path.write_text("[worker]\n" + "".join(f"k{number} = 1\n" for number in range(8)))
    message = str(refusal(path))
    assert message.count("is not a known key") == 5
    assert message.endswith("(and 3 more)")
    assert "\n" not in message
