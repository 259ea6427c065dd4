"""`chatq submit`: hand one job in."""

from __future__ import annotations

import sys
from typing import Any

import click
import orjson

from producer.cli.answer import show
from producer.cli.context import CliContext
from producer.cli.duration import Duration
from producer.cli.output import echo_json
from producer.cli.request import read_body
from producer.cli.routing import as_json, fallbacks, tags
from producer.cli.session import open_producer, run_async, warn_without_worker
from producer.submission import Submission
from shared.errors import JobRejected
from shared.job import Job, Lane


class Pair(click.ParamType[tuple[str, Any]]):
    """`NAME=VALUE`; the value is read as JSON where it is JSON, else as a text."""

    name = "pair"

    def __init__(self, *, is_json: bool) -> None:
        self._is_json = is_json

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Any]:
        """The name and the value."""
        name, equals, text = str(value).partition("=")
        if not name or not equals:
            self.fail(f"{value!r}: write NAME=VALUE", param, ctx)
        try:
            return name, orjson.loads(text) if self._is_json else text
        except orjson.JSONDecodeError:
            return name, text


@click.command()
@click.argument("model", required=False)
@click.argument("prompt", required=False)
@click.option(
    "--request",
    "request_file",
    type=click.File("rb"),
    metavar="FILE",
    help="Take a JSON request body; - is stdin.",
)
@click.option("--system", metavar="TEXT", help="System message.")
@click.option("--max-tokens", type=click.IntRange(min=1), metavar="N", help="Cap on generated tokens.")
@click.option("--temperature", type=click.FloatRange(0, 2), metavar="T")
@click.option(
    "--param",
    "params",
    type=Pair(is_json=True),
    multiple=True,
    metavar="K=V",
    help="Any field; V may be JSON.",
)
@click.option(
    "--lane",
    type=click.Choice([lane.value for lane in Lane]),
    default=Lane.DEFAULT.value,
    show_default=True,
    help="Which of the provider's queues.",
)
@fallbacks
@tags
@click.option("--idempotency-key", metavar="KEY", help="Same key and same request: the same job.")
@click.option(
    "--metadata",
    type=Pair(is_json=False),
    multiple=True,
    metavar="K=V",
    help="Label kept with the job; repeatable.",
)
@click.option("--source", metavar="LABEL", help="Label sent to the provider and into telemetry.")
@click.option(
    "--expires-in", "expires_in_s", type=Duration(), metavar="30m", help="Not sent later than this."
)
@click.option("--wait", "is_waiting", is_flag=True, help="Wait, then print the answer instead of the id.")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0), metavar="S", help="With --wait: give up after S."
)
@as_json
@click.pass_obj
def submit(
    context: CliContext,
    /,
    is_waiting: bool,
    timeout_s: float | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Hand one chat job in and print its id.

    PROMPT may be - for standard input.
    """
    if timeout_s is not None and not is_waiting:
        raise click.UsageError("--timeout goes with --wait")
    submission = _submission(options)
    job_id, job = run_async(_submit(context, submission, is_waiting=is_waiting, timeout_s=timeout_s))
    if job is not None:
        show(job, as_json=as_json)
    elif as_json:
        echo_json({"id": job_id})
    else:
        click.echo(job_id)


async def _submit(
    context: CliContext, submission: Submission, *, is_waiting: bool, timeout_s: float | None
) -> tuple[str, Job | None]:
    async with open_producer(context) as producer:
        (result,) = await producer.submit_many([submission])
        if isinstance(result, JobRejected):
            raise result
        if not is_waiting:
            return result, None
        job = await producer.get(result)
        if not job.state.is_terminal:
            await warn_without_worker(producer, job.queue.rpartition(".")[0])
        return result, await producer.wait(result, timeout_s=timeout_s)


def _submission(options: dict[str, Any]) -> Submission:
    return Submission(
        _request(options),
        lane=Lane(options["lane"]),
        idempotency_key=options["idempotency_key"],
        metadata=dict(options["metadata"]) or None,
        source=options["source"],
        expires_in_s=options["expires_in_s"],
        tags=options["tags"],
    )


def _request(options: dict[str, Any]) -> dict[str, Any]:
    """The request body: from `--request` or from MODEL and PROMPT; options are set over it."""
    if options["request_file"] is not None:
        if options["prompt"] is not None:
            raise click.UsageError("give either PROMPT or --request")
        body = read_body(options["request_file"].read())
    elif options["prompt"] is None:
        raise click.UsageError("give MODEL and PROMPT, or --request FILE")
    else:
        text = sys.stdin.read() if options["prompt"] == "-" else options["prompt"]
        body = {"messages": [{"role": "user", "content": text}]}
    messages = body.get("messages")
    if options["system"] is not None and isinstance(messages, list):
        body["messages"] = [{"role": "system", "content": options["system"]}, *messages]
    params: dict[str, Any] = dict(options["params"])
    named = {name: options[name] for name in ("model", "max_tokens", "temperature")}
    named["fallbacks"] = list(options["fallbacks"]) or None
    return {**body, **params, **{name: value for name, value in named.items() if value is not None}}
