"""The command `chatq simulate`."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import click
from pydantic import ValidationError

from simulator.config import Charge, LimitSettings, RateHeaders, SimulatorConfig, explain
from simulator.faults import FAULT_TEXTS, Fault
from simulator.server import Simulator

_new_event_loop: Callable[[], asyncio.AbstractEventLoop]
try:
    import uvloop

    _new_event_loop = uvloop.new_event_loop
except ImportError:
    _new_event_loop = asyncio.new_event_loop

_DEFAULTS = SimulatorConfig()
_FAULT_LIST = ", ".join(f"{fault} ({text})" for fault, text in FAULT_TEXTS.items())


_FILE = click.Path(path_type=Path, dir_okay=False)


class _CannotStart(click.ClickException):
    """The port or a file cannot be used."""

    exit_code = 3


def _fault_share(text: str) -> tuple[Fault, float]:
    """One `NAME=P`."""
    name, _, probability = text.partition("=")
    try:
        return Fault(name), float(probability)
    except ValueError:
        names = ", ".join(Fault)
        raise click.BadParameter(f"{text!r}: use NAME=P, P from 0 to 1 and NAME one of {names}") from None


def _model_limit(text: str) -> tuple[str, LimitSettings]:
    """One `NAME:rpm=60,tpm=1000`. A name may hold colons of its own."""
    name, _, limits = text.rpartition(":")
    pairs = [pair.partition("=") for pair in limits.split(",")]
    try:
        if not name:
            raise ValueError
        return name, LimitSettings.model_validate({key.strip(): int(value) for key, _, value in pairs})
    except ValidationError as exc:
        raise click.BadParameter(f"{text!r}: {explain(exc)}") from None
    except ValueError:
        raise click.BadParameter(
            f"{text!r}: use NAME:rpm=60,tpm=1000,concurrency=2, or some of them"
        ) from None


def _option(flag: str, field: str, **attributes: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """An option for a setting that has a default; the settings state it."""
    default = str(getattr(_DEFAULTS, field))
    return click.option(flag, field, default=default, show_default=True, **attributes)


@click.command(epilog=f"Faults: {_FAULT_LIST}.")
@click.option("--host", default=_DEFAULTS.host, show_default=True, help="Loopback address to listen on.")
@click.option("--port", type=int, default=8081, show_default=True, help="TCP port; 0 takes a free one.")
@click.option("--models", metavar="A,B", help="The only models known; others get 404. [default: every model]")
@click.option("--key", metavar="KEY", help="Key to ask for, in each wire's own header. [default: none]")
@_option("--seed", "seed", type=int, help="Same seed, same answers, latencies and faults.")
@_option(
    "--latency", "latency", metavar="DIST", help="Seconds: a number, uniform:A,B or lognormal:MEDIAN,SIGMA."
)
@_option("--output-tokens", "output_tokens", metavar="DIST", help="Words per answer, likewise.")
@click.option("--rpm", type=int, help="Requests per minute. [default: no limit]")
@click.option("--tpm", type=int, help="Tokens per minute. [default: no limit]")
@click.option("--concurrency", type=int, help="Calls at the same time. [default: no limit]")
@click.option(
    "--model-limit",
    "model_limits",
    type=_model_limit,
    metavar="NAME:rpm=N,tpm=N,concurrency=N",
    multiple=True,
    help="A model's limits beside the others; repeatable.",
)
@_option("--slice", "slice_s", type=float, help="Seconds of the minute's allowance that may pass at once.")
@_option(
    "--charge",
    "charge",
    type=click.Choice(get_args(Charge)),
    help="Tokens charged: prompt plus output really used, or prompt plus max_tokens asked for.",
)
@_option(
    "--rate-headers",
    "rate_headers",
    type=click.Choice(get_args(RateHeaders)),
    help="How limits are told: OpenAI's headers, the wait of a 429 only, or not at all.",
)
@click.option(
    "--fault",
    "faults",
    type=_fault_share,
    metavar="NAME=P",
    multiple=True,
    help="A fault's probability; repeatable.",
)
@click.option(
    "--fault-first", type=int, metavar="N", help="Faults strike only the first N calls of each request."
)
@_option("--retry-after", "retry_after_s", type=float, help="Seconds stated by the fault 429.")
@_option(
    "--trickle-interval", "trickle_interval_s", type=float, help="Seconds per byte of the fault trickle."
)
@_option("--oversize-bytes", "oversize_bytes", type=int, help="Least body size of oversize and gzip-bomb.")
@click.option("--log", "log_path", type=_FILE, help="JSONL log of every call, appended to.")
@click.option("--ready-file", type=_FILE, help="Gets the URL once the port is open; removed at the end.")
@click.option(
    "--until-eof", is_flag=True, help="End when standard input does, as with whoever holds a pipe to it."
)
def simulate(
    ready_file: Path | None,
    until_eof: bool,
    models: str | None,
    faults: tuple[tuple[Fault, float], ...],
    model_limits: tuple[tuple[str, LimitSettings], ...],
    **options: Any,
) -> None:
    """Run a local stand-in for LLM providers: every wire on one port, at its provider's own paths.

    Ollama chat and generate, OpenAI chat completions and Responses, Anthropic messages, Gemini generateContent,
    each with its model list; a path may have any prefix in front. A request gets JSON, a tool call or thoughts when
    it asks for them.

    A model name can force a behaviour: sim-fault-500, sim-fault-reset-first-1, sim-latency-0.2.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if models is not None:
        given["models"] = tuple(name.strip() for name in models.split(",") if name.strip())
    try:
        config = SimulatorConfig(faults=dict(faults), model_limits=dict(model_limits), **given)
    except ValidationError as exc:
        raise click.UsageError(explain(exc)) from None
    try:
        with asyncio.Runner(loop_factory=_new_event_loop) as runner:
            runner.run(_run(config, ready_file, until_eof=until_eof))
    except OSError as exc:
        raise _cannot_start(config, exc) from None


async def _run(config: SimulatorConfig, ready_file: Path | None, *, until_eof: bool) -> None:
    """Serve until SIGTERM, SIGINT or, if that is wanted, the end of standard input."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    if until_eof:
        # A thread, as not every kind of file can be watched by a loop; it never holds up the end.
        threading.Thread(target=_await_eof, args=(loop, stopped), daemon=True).start()
    async with Simulator(config) as simulator:
        click.echo(f"simulator ready at {simulator.url}")
        if ready_file is not None:
            _announce(ready_file, simulator.url)
        await stopped.wait()
    if ready_file is not None:
        ready_file.unlink(missing_ok=True)


def _await_eof(loop: asyncio.AbstractEventLoop, stopped: asyncio.Event) -> None:
    while os.read(0, 4096):
        continue
    with suppress(RuntimeError):  # the loop has ended meanwhile
        loop.call_soon_threadsafe(stopped.set)


def _announce(ready_file: Path, url: str) -> None:
    """Write the URL so that a reader sees all of it or no file."""
    draft = ready_file.with_name(f"{ready_file.name}.new")
    draft.write_text(f"{url}\n", encoding="ascii")
    draft.replace(ready_file)


def _cannot_start(config: SimulatorConfig, exc: OSError) -> click.ClickException:
    place = exc.filename or f"{config.host}:{config.port}"
    return _CannotStart(f"cannot use {place}: {exc.strerror}; choose another --port, --log or --ready-file")
