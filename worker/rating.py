"""The rater: has a selector say how demanding a job is, and finds the target that this means."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property

import orjson

from shared.chat import encode_request
from shared.errors import JobRejected, StoreError
from shared.group_follower import GroupFollower
from shared.job import Lane
from shared.live_facts import LiveFacts
from shared.routing import Features, Router, Selection, features_of
from shared.routing.classifier import rating_key, rating_request, read_rating
from shared.store.grants import Grant
from shared.store.ratings import RatingStore
from shared.tokens import estimate_prompt_tokens
from shared.way import Way, find_way_rated, way_entries, way_fields
from worker.upstream import Answer
from worker.work import Work

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Question:
    """A job that wants a rating."""

    work: Work
    selection: Selection
    lane: Lane
    request_json: bytes

    @cached_property
    def features(self) -> Features:
        """What groups go by."""
        return features_of(self.work.request, self.request_json, self.work.tags)

    @property
    def key(self) -> str:
        """The name of its rating in the store."""
        selection, candidate = self.selection, self.work.candidate
        selector = f"{candidate.provider}/{candidate.model}"
        return rating_key(selection.group_id, selector, selection.scale, self.features.text)

    @property
    def call(self) -> Work:
        """The call that asks for it."""
        asked = rating_request(self.work.candidate.model, self.features.text, self.selection.scale)
        return replace(self.work, request=asked)

    def read(self, answer: Answer) -> int | None:
        """The rating in a selector's answer; None for one that was cut off before it said any."""
        match answer.response:
            case {"choices": [{"message": {"content": str(text)}}, *_]}:
                words: str | None = text
            case _:
                words = None
        return read_rating(words, self.selection.scale, is_cut=answer.finish_reason == "length")


class Rater:
    """Knows ratings and what follows from them. Calls are the attempt runner's.

    Args:
        router: With the groups as they are now.
        groups: Keeps them so.
        facts: What groups go by.
        ratings: Ratings of before.
        max_bytes: Largest request.
    """

    def __init__(
        self,
        router: Router,
        groups: GroupFollower,
        facts: LiveFacts,
        ratings: RatingStore,
        *,
        max_bytes: int,
    ) -> None:
        self._router = router
        self._groups = groups
        self._facts = facts
        self._ratings = ratings
        self._max_bytes = max_bytes

    def question(self, work: Work, selection: Selection, lane: Lane) -> Question:
        """The question that a job stands for."""
        return Question(work, selection, lane, encode_request(work.request, max_bytes=self._max_bytes))

    async def known(self, question: Question) -> int | None:
        """The rating of an identical message, where its group keeps them."""
        if not question.selection.cache_s:
            return None
        with _despite("a rating is made again"):
            return await self._ratings.get(question.key)
        return None

    async def keep(self, question: Question, rating: int) -> None:
        """Keep a rating, where its group keeps them."""
        if question.selection.cache_s:
            with _despite("a rating is not kept"):
                await self._ratings.put(question.key, rating, keep_s=question.selection.cache_s)

    async def prepare(self, question: Question, rating: int) -> None:
        """Learn what `send_on` goes by: groups as they are now, and facts of the candidates it will ask for."""
        # A rejection is told when it counts.
        with _despite("groups go by what was known before"), suppress(JobRejected):
            await self._groups.catch_up()
            await self._facts.decide(lambda: self._way(question, rating))

    def send_on(self, grant: Grant, question: Question, rating: int) -> tuple[bytes, bytes]:
        """What the job is from now on: its record and its candidates, as JSON (`Routed.info`, `Routed.route`).

        Raises:
            InvalidRequest, ProviderNotFound: The group leads nowhere any more.
        """
        way = self._way(question, rating)
        self._facts.sent(way.candidates[0], question.lane)
        request = question.work.request
        prompt_tokens = estimate_prompt_tokens(request, question.request_json)
        entries, first = way_entries(
            way, lambda: question.features, prompt_tokens, request.output_limit_tokens or 0
        )
        if way.selection is None:  # so far the job's tokens were the rating's
            entries[0] = (*entries[0][:2], *first)
        record = orjson.loads(grant.info)
        for field in ("selection", "unrated_chain"):
            record.pop(field, None)
        return orjson.dumps(record | way_fields(way, tags=question.work.tags)), orjson.dumps(entries)

    def _way(self, question: Question, rating: int) -> Way:
        return find_way_rated(
            question.selection,
            rating,
            question.work.request,
            lambda: question.features,
            self._router,
            self._facts.of(question.lane),
        )


@contextmanager
def _despite(what: str) -> Iterator[None]:
    """Go on without the store where it is a help only."""
    try:
        yield
    except StoreError as exc:
        log.warning("%s: %s", what, exc)
