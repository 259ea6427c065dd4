"""The catalogue: what is known of every model, and what a call to it costs.

Sources, best first: the operator's entries, the built-in table, genai-prices where it is installed.

What a model can do is the same wherever it is served, and its maker knows best: a reseller that states a longer
answer than the maker does is wrong. What it costs is what the provider that is called takes: its own price, or the
maker's at those who are known to charge by use and have none. One reseller's price says nothing about another's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import cache, lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from shared.catalogue.bill import Bill, bill_of
from shared.catalogue.facts import ModelFacts, combine
from shared.catalogue.names import split_vendor
from shared.catalogue.row import Row, Source, row_of
from shared.catalogue.table import Shelves, builtin_table, provider_at
from shared.settings import ProviderSettings, Settings
from shared.usage import NO_USAGE, Usage

if TYPE_CHECKING:
    from shared.catalogue.genai_source import GenaiPrices

KEPT_FACTS = 4096
"""Models whose facts are kept ready. Their names come with jobs, so there is no end to them."""

ALL = "*"
"""Stands for all models of a provider, in the operator's entries."""

OPERATOR, BUILT_IN = "settings", "built in"
"""How the sources that are no publication are shown."""

_ON_OWN_HARDWARE = ("ollama", "ollama_generate")
"""Wires of servers that run on one's own hardware, unless they are known to be somebody else's."""


class Catalogue:
    """Facts and prices, by provider and model.

    Args:
        providers: Entries of the settings, by name.
        entries: What the operator says.
        further: Loads the last source, or says that there is none; called when the others do not suffice.
    """

    def __init__(
        self,
        providers: Mapping[str, ProviderSettings],
        entries: Shelves,
        *,
        further: Callable[[], GenaiPrices | None],
    ) -> None:
        self._providers = providers
        self._known, self._table = builtin_table()
        self._entries = entries
        self._further = further
        self._facts = lru_cache(maxsize=KEPT_FACTS)(self._put_together)

    @classmethod
    def from_settings(cls, settings: Settings) -> Catalogue:
        """The catalogue of a process."""
        rows: dict[str, dict[str, Row]] = {}
        for key, entry in settings.catalogue.items():
            provider, _, model = key.partition("/")
            rows.setdefault(provider, {})[model.lower()] = row_of(entry, source=OPERATOR)
        return cls(settings.providers, Shelves(rows), further=genai_prices)

    def preload(self) -> None:
        """Read the data of genai-prices now, if it is installed.

        It takes some 0.2 s, which the first look-up of a model that is not in the table would take otherwise: too
        long for an event loop.
        """
        self._further()

    def find(self, provider: str, model: str) -> ModelFacts | None:
        """What is known of a model, or None if that is nothing.

        Args:
            provider: Name of an entry of the settings.
            model: As that provider calls it.
        """
        return self._facts(provider, model)

    def names_at(self, provider: str) -> list[str]:
        """The models that the operator's entries and the built-in table list for a provider, by name.

        Args:
            provider: Name of an entry of the settings.
        """
        names = dict.fromkeys((provider, self._known_as(provider, "", None) or provider))
        listed = (
            name for shelves in (self._entries, self._table) for one in names for name in shelves.names(one)
        )
        return sorted({name for name in listed if name != ALL})

    def bill(
        self,
        provider: str,
        model: str,
        usage: Usage,
        *,
        at: float,
        images: int = 0,
        is_batch: bool = False,
    ) -> Bill:
        """What a call cost; see `bill_of`.

        Args:
            provider: Name of an entry of the settings.
            model: As that provider calls it.
        """
        return bill_of(self._facts(provider, model), usage, at=at, images=images, is_batch=is_batch)

    def expect(
        self, provider: str, model: str, *, input_tokens: int, output_tokens: int, at: float
    ) -> Decimal | None:
        """What a call not yet made would cost, in USD, with nothing cached; 0 on own hardware and inside a plan.

        Returns:
            None if no price is known.
        """
        usage: Usage = {**NO_USAGE, "input_total": input_tokens, "output_total": output_tokens}
        return self.bill(provider, model, usage, at=at).usd

    # -- putting facts together -------------------------------------------------------------------

    def _put_together(self, provider: str, model: str) -> ModelFacts | None:
        facts = self._from_sources(provider, model, None)
        if facts and (facts.prices or facts.kind in ("local", "subscription")):
            return facts
        further = self._further()
        return self._from_sources(provider, model, further) if further else facts

    def _from_sources(self, provider: str, model: str, further: GenaiPrices | None) -> ModelFacts | None:
        known_as = self._known_as(provider, model, further)
        names = dict.fromkeys((provider, known_as or provider))
        known = self._known.get(known_as or "")
        builtin: tuple[Source, ...] = (self._table, further) if further else (self._table,)
        operators = [
            row for which in (model, ALL) for name in names if (row := self._entries.row(name, which))
        ]
        own = [row for source in builtin for name in names if (row := source.row(name, model))]
        makers = [
            row
            for source in (self._entries, *builtin)
            for maker, makers_model in self._makers_of(model)
            if (row := source.row(maker, makers_model))
        ]
        general = (
            [Row(BUILT_IN, kind=known.kind, needs_output_limit=known.needs_output_limit)] if known else []
        )
        kind = next((row.kind for row in (*operators, *own, *general) if row.kind), None)
        limits = [*operators, *makers, *own, *self._elsewhere(model), *general]
        if not limits:
            return None
        prices = [*operators, *own, *(makers if kind == "metered" else [])]
        return combine(provider, model, kind=kind, limits=limits, prices=prices)

    def _known_as(self, provider: str, model: str, further: GenaiPrices | None) -> str | None:
        """The known provider behind an entry of the settings: by its address, its name, or its wire."""
        entry = self._providers.get(provider)
        name = provider_at(entry.base_url, self._known) if entry else None
        if name is None and provider in self._known:
            name = provider
        if name is None and entry:
            name = "ollama" if entry.wire in _ON_OWN_HARDWARE else None
            name = name or (further.provider_at(entry.base_url) if further else None)
        # A local Ollama hands such models on to its cloud (provider-wire.md §1).
        if name == "ollama" and model.lower().endswith((":cloud", "-cloud")):
            return "ollama_cloud"
        return name

    def _makers_of(self, model: str) -> Iterator[tuple[str, str]]:
        """Who may have made a model, and what they call it: whoever is named in front of it, else anyone."""
        vendor, makers_model = split_vendor(model)
        for maker, known in self._known.items():
            if known.vendors and (vendor is None or vendor in known.vendors):
                yield maker, makers_model

    def _elsewhere(self, model: str) -> Iterator[Row]:
        """What rows of any other provider say of a model; the first in the alphabet first."""
        _, name = split_vendor(model)
        for shelves in (self._entries, self._table):
            yield from (row for other in sorted(shelves.providers) if (row := shelves.row(other, name)))


@cache
def genai_prices() -> GenaiPrices | None:
    """The optional source; a module of its own, so that nothing needs the package to be there."""
    if find_spec("genai_prices") is None:
        return None
    source: GenaiPrices = import_module("shared.catalogue.genai_source").GenaiPrices()
    return source
