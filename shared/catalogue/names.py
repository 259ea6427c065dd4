"""Model names: when two of them mean one model, although one says more.

`gpt-5.4-mini` and `gpt-5.4-mini-2026-04-01` do: a release stands behind the name. `gpt-5` and `gpt-5.4`, or
`gpt-5` and `gpt-5-mini`, do not: those are other models at other prices.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_RELEASE = re.compile(
    r"""(?:[-:@/](?:
        \d{4}-\d\d-\d\d | \d\d-\d{4} | \d\d-\d\d | \d{3,8}       # a day, a month, a build: 0905, 20260401, 001
        | latest | preview | stable | exp | experimental | beta
    ))+""",
    re.VERBOSE,
)
"""What may stand behind a name, from a boundary (`-`, `:`, `@`, `/`) to the end."""


def is_release(name: str, of: str) -> bool:
    """Whether `name` is a release of the model `of`: its name, and behind a boundary what tells releases apart."""
    return name.startswith(of) and _RELEASE.fullmatch(name, len(of)) is not None


def find_name(listed: Collection[str], asked: str) -> str | None:
    """The listed name that means the model asked for.

    The name itself; else the longest listed one that `asked` is a release of; else the newest listed release of
    `asked`, which is what a provider gives to those who name none.

    Args:
        listed: Names in small letters.
        asked: Any name; its case does not matter.
    """
    asked = asked.lower()
    if asked in listed:
        return asked
    models = [name for name in listed if is_release(asked, of=name)]
    if models:
        return max(models, key=len)
    return max((name for name in listed if is_release(name, of=asked)), default=None)


def split_vendor(model: str) -> tuple[str | None, str]:
    """A reseller's name for a model as (maker, the maker's own name): `openai/gpt-5` is ("openai", "gpt-5")."""
    path, slash, own_name = model.lower().rpartition("/")
    return (path.rpartition("/")[2] if slash else None), own_name
