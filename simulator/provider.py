"""The stand-in's decision about one chat call: refuse it, answer it, spoil it, and when."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass

from simulator.answer import MAX_OUTPUT_TOKENS, Answer, compose, count_tokens
from simulator.calllog import CallLog, CallRecord
from simulator.config import SimulatorConfig
from simulator.dice import Dice
from simulator.digest import text_digest
from simulator.faults import AT_ONCE, WITH_ANSWER, Directive, Fault, choose_fault, directive_in
from simulator.framing import Request
from simulator.limits import AccountLimits, Scopes, Shortage, admit
from simulator.notices import allowance_lines, wait_lines
from simulator.refusals import InvalidRequest, Refusal, RefusedCall
from simulator.reply import Admitted, Reply, faulty_reply, good_reply, refusal_reply
from simulator.stats import Stats
from simulator.wire import ChatCall, CountingWire, PromptTokens, Timing, Wire

_MAX_DIGESTS = 1_000_000
"""How many distinct requests are told apart before the oldest is forgotten; about 150 bytes each."""
_CLIENT_LEFT = 499
"""nginx's number, also Ollama's, for a client that gave up."""
_NO_DIRECTIVE = Directive()
_CACHE_FROM_TOKENS = 1024
_CACHE_BLOCK_TOKENS = 128
"""OpenAI's prompt caching guide: prompts from this size on, in steps of this size."""


@dataclass(slots=True)
class Exchange:
    """One request on its way to a reply."""

    build: Callable[[], Reply]
    """Makes the reply; called once, when the delay is over."""
    delay_s: float = 0.0
    record: CallRecord | None = None
    """None for anything but a chat call."""
    scopes: Scopes = ()
    """Where it was admitted and counts as in flight."""


class Provider:
    """All state that calls share: limits, dice, log and counts. Used from one event loop."""

    def __init__(self, config: SimulatorConfig) -> None:
        self.log = CallLog(config.log_ring, config.log_path)
        self.stats = Stats()
        self._limits = AccountLimits()
        self._occurrences: dict[str, int] = {}
        self.configure(config)

    def configure(self, config: SimulatorConfig) -> None:
        """Take new settings; calls under way keep the delay and fault they were given."""
        self.config = config
        self._dice = Dice(config.seed)
        self._key = config.key.get_secret_value().encode() if config.key else None
        self._models = frozenset(config.models) if config.models is not None else None
        self._limits.set(config, config.model_limits, config.slice_s, time.monotonic())

    def reset(self) -> None:
        """Forget records, counts and earlier calls, and fill the limits; settings and running calls stay."""
        self.log.clear()
        self.stats = Stats()
        self.stats.admitted(self._limits.account.in_flight)
        self._occurrences.clear()
        self._limits.refill(time.monotonic())

    def snapshot(self) -> dict[str, object]:
        """The counts as JSON."""
        return self.stats.snapshot(self._limits.account.in_flight)

    def check_key(self, wire: Wire, request: Request) -> None:
        """Ask for the key, if one is set.

        Raises:
            RefusedCall: It is missing or wrong.
        """
        if self._key is None:
            return
        key = wire.key(request)
        if not key:
            raise RefusedCall(wire.no_key())
        if key != self._key:
            raise RefusedCall(wire.bad_key())

    def count_tokens(self, wire: CountingWire, request: Request) -> int:
        """Tokens of a prompt that is only to be counted; no limit or fault applies.

        Raises:
            RefusedCall: The request is.
        """
        self.check_key(wire, request)
        try:
            call = wire.parse_count(request)
            self._known(wire, call)
        except InvalidRequest as exc:
            raise RefusedCall(wire.invalid(str(exc), exc.field)) from None
        return count_tokens(call.system, call.prompt, call.images)

    def open(self, wire: Wire, request: Request, path: str) -> Exchange:
        """Decide what happens to a chat call. Every exchange must be closed."""
        record = _new_record(wire, request, path)
        try:
            return self._admit(wire, request, record)
        except RefusedCall as refused:
            refusal = refused.refusal
        except InvalidRequest as exc:
            refusal = wire.invalid(str(exc), exc.field)
        build = functools.partial(refusal_reply, refusal, is_keep_alive=request.is_keep_alive)
        return Exchange(build, record=record)

    def close(self, exchange: Exchange, *, sent_bytes: int, is_client_gone: bool) -> None:
        """Give the slots back, and record and count the call."""
        record = exchange.record
        if record is None:
            return
        for limiter in exchange.scopes:
            limiter.release()
        if is_client_gone and record.status is None:
            record.status = _CLIENT_LEFT
        record.sent_bytes = sent_bytes
        record.ended_at = time.time()
        record.ended_s = time.monotonic()
        self.log.append(record)
        self.stats.ended(record)

    def _admit(self, wire: Wire, request: Request, record: CallRecord) -> Exchange:
        """The gates in a provider's order: key, request, model, limits; then fault and latency."""
        self.check_key(wire, request)
        call = wire.parse(request)
        record.model = call.model
        directive = self._known(wire, call)
        record.digest = digest = text_digest(call.model, call.system, call.prompt)
        record.prompt_tokens = prompt_tokens = count_tokens(call.system, call.prompt, call.images)
        answer = compose(digest, call.cap_tokens, self.config.output_tokens, self._dice, call.demand)
        scopes = self._limits.scopes(call.model)
        tokens = prompt_tokens + self._charged_output(call, answer)
        headers = self._charge(wire, call.model, scopes, tokens, record)
        occurrence = self._count(digest)
        fault, delay_s = self._fate(digest, directive, occurrence)
        record.fault = fault.value if fault is not None else None
        if fault is None or fault in WITH_ANSWER:
            record.output_tokens = answer.tokens
        prompt = _prompt_tokens(prompt_tokens, occurrence)
        admitted = Admitted(wire, call, answer, prompt, headers, request.is_keep_alive, fault)
        return Exchange(functools.partial(self._reply, admitted, record), delay_s, record, scopes)

    def _known(self, wire: Wire, call: ChatCall) -> Directive:
        """What the model's name forces."""
        try:
            directive = directive_in(call.model)
        except ValueError as exc:
            raise InvalidRequest(str(exc)) from None
        if directive is not None:
            return directive
        if self._models is not None and call.model not in self._models:
            raise RefusedCall(wire.unknown_model(call.model))
        return _NO_DIRECTIVE

    def _charged_output(self, call: ChatCall, answer: Answer) -> int:
        """Output tokens that the limits charge."""
        if self.config.charge == "actual":
            return answer.tokens
        return MAX_OUTPUT_TOKENS if call.cap_tokens is None else call.cap_tokens

    def _charge(self, wire: Wire, model: str, scopes: Scopes, tokens: int, record: CallRecord) -> bytes:
        """Admit the call to the limits; the header lines that tell what is left of them."""
        now_s = time.monotonic()
        shortage = admit(scopes, tokens, now_s)
        headers = allowance_lines(self.config.rate_headers, wire.dialect, scopes, now_s)
        if shortage is not None:
            raise RefusedCall(self._short(wire, model, shortage, headers))
        record.started_s = now_s
        record.charged_tokens = tokens
        self.stats.admitted(self._limits.account.in_flight)
        return headers

    def _short(self, wire: Wire, model: str, shortage: Shortage, headers: bytes) -> Refusal:
        """The refusal for want of room, with as much about the wait as the settings let out."""
        style = self.config.rate_headers
        refusal = wire.short(model, shortage, style)
        refusal.headers += headers
        # Ollama's own 503 states no wait, and no wait makes a call fit that is larger than the limit.
        if refusal.status == 429 and shortage.wait_s is not None:
            refusal.headers += wait_lines(style, wire.dialect, shortage.wait_s)
        return refusal

    def _fate(self, digest: str, directive: Directive, occurrence: int) -> tuple[Fault | None, float]:
        """The call's fault and its delay in seconds."""
        config = self.config
        latency_draw, fault_draw = 0.0, 0.0
        if config.faults or config.latency.is_random:
            latency_draw, fault_draw = self._dice.roll(digest, occurrence)
        if directive.fault is not None:
            fault = directive.strikes(occurrence)
        elif config.fault_first is not None and occurrence >= config.fault_first:
            fault = None
        else:
            fault = choose_fault(config.faults, fault_draw)
        if fault in AT_ONCE:
            return fault, 0.0
        return fault, config.latency.at(latency_draw) if directive.latency_s is None else directive.latency_s

    def _count(self, digest: str) -> int:
        """How many earlier calls of this request were admitted; counts this one."""
        occurrence = self._occurrences.get(digest, 0)
        if not occurrence and len(self._occurrences) >= _MAX_DIGESTS:
            del self._occurrences[next(iter(self._occurrences))]
        self._occurrences[digest] = occurrence + 1
        return occurrence

    def _reply(self, admitted: Admitted, record: CallRecord) -> Reply:
        now = time.time()
        timing = Timing(now, now - record.arrived_at)
        if admitted.fault is None:
            return good_reply(admitted, timing)
        return faulty_reply(
            admitted,
            admitted.fault,
            timing,
            retry_after_s=self.config.retry_after_s,
            oversize_bytes=self.config.oversize_bytes,
        )


def _prompt_tokens(total: int, occurrence: int) -> PromptTokens:
    """What of a prompt a cache holds, if the same request came before."""
    shared = total - total % _CACHE_BLOCK_TOKENS if total >= _CACHE_FROM_TOKENS else 0
    return PromptTokens(total, shared, occurrence > 0)


def _new_record(wire: Wire, request: Request, path: str) -> CallRecord:
    headers = request.headers
    return CallRecord(
        time.time(),
        wire.name,
        path,
        _text(headers.get(b"x-chatq-job")),
        _text(headers.get(b"x-chatq-attempt")),
        _text(headers.get(b"x-source")),
    )


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
