"""`[catalogue]`: what an entry may say, and how a wrong one is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import ConfigError
from shared.settings import Settings, load_settings


def load(folder: Path, text: str, **env: str) -> Settings:
    file = folder / "chatq.toml"
    file.write_text(text, encoding="utf-8")
    return load_settings(file, env={"HOME": str(folder), **env})


PRICE = "price = { input = 1.0, output = 2.0 }\n"


def test_entry_is_read(tmp_path: Path) -> None:
    """Inline or as tables, whichever reads better."""
    text = f"""
    [catalogue."openrouter/vendor/model:free"]
    inputs = ["text", "image"]
    {PRICE}
    tiers = [{{ above = 200_000, input = 2.0, output = 3.0 }}]
    [[catalogue."openrouter/vendor/model:free".specials]]
    hours = ["16:30-00:30"]
    until = "2026-12-31"
    input = 0.5
    output = 1.0
    """
    entry = load(tmp_path, text).catalogue["openrouter/vendor/model:free"]
    assert (entry.price and entry.price.output, entry.tiers[0].above) == (2.0, 200_000)
    assert (entry.specials[0].hours, entry.inputs) == (("16:30-00:30",), ("text", "image"))


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ('kind = "free"', '.kind is \'free\'; allowed: "metered" or "local" or "subscription"'),
        ("price = { input = 1.0 }", ".price.output is"),
        (
            "price = { input = -1.0, output = 1.0 }",
            ".price.input is -1.0; allowed: a number from 0 to 1000000",
        ),
        (PRICE + "batch_factor = 1.5", ".batch_factor is 1.5; allowed: a number from 0.01 to 1"),
        ("batch_factor = 0.5", "has tiers, specials or a batch_factor but no price that they differ from"),
        ('inputs = ["smell"]', ".inputs has an entry that is"),
        (
            PRICE + 'specials = [{ hours = ["25:00-26:00"], input = 0.0, output = 0.0 }]',
            'must be hours of the day in UTC, like "16:30-00:30"',
        ),
        (
            PRICE + 'specials = [{ until = "31.12.2026", input = 0.0, output = 0.0 }]',
            'must be a day, like "2026-12-31", or empty',
        ),
        ("contxt_tokens = 5", "is not a known key (did you mean 'context_tokens'?)"),
    ],
)
def test_wrong_entry_is_refused(tmp_path: Path, entry: str, complaint: str) -> None:
    """In one line that names the key and what is allowed."""
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, f'[catalogue."openai/gpt-5"]\n{entry}')
    message = str(refused.value)
    assert 'catalogue."openai/gpt-5"' in message
    assert complaint in message
    assert "\n" not in message


@pytest.mark.parametrize("key", ["gpt-5", "openai/", "OpenAI/gpt-5"])
def test_key_is_a_provider_and_a_model(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match='is not a model with its provider, like "openai/gpt-5"'):
        load(tmp_path, f'[catalogue."{key}"]\ntools = true')


def test_provider_of_an_entry_exists(tmp_path: Path) -> None:
    """A typo would be an entry that nobody ever reads."""
    with pytest.raises(ConfigError, match="names 'opnai', which is not in \\[providers\\]"):
        load(tmp_path, '[catalogue."opnai/gpt-5"]\ntools = true')
