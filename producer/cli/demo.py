"""`chatq demo`: the whole way, on this machine alone: embedded Redis, worker, and simulated providers."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from producer.batch.lines import count_lines
from producer.cli.run import Options, run_batch
from producer.cli.stage import stage
from producer.cli.summary import print_summary

FAULTS = ("--fault", "503=0.03", "--fault", "429=0.03", "--fault", "reset=0.02", "--fault-first", "1")
"""A few first tries fail, so that retries are part of the show."""

CONCURRENCY = 60
"""Few enough that the bar is seen to move."""


@click.command()
@click.option(
    "--input",
    "source",
    type=click.Path(path_type=Path),
    default="examples/prompts.jsonl",
    show_default=True,
    help="Requests for ollama, ollama_cloud and openrouter models.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default="out/demo.jsonl",
    show_default=True,
    help="Overwritten each time.",
)
@click.pass_context
def demo(ctx: click.Context, source: Path, output: Path) -> None:
    """Run the example prompts against simulated providers; nothing leaves this machine."""  # fmt: skip
    if not source.is_file():
        raise click.UsageError(
            f"there is no {source}: run this in a clone of the repository, or give --input"
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    with stage(ctx.obj.env, *FAULTS) as context:
        click.echo(
            f"{count_lines(source)} prompts for ollama, ollama_cloud and openrouter, played by a simulator\n"
            "auto:smart is a group of three models: a selector rates each of its prompts first"
        )
        options = Options(source, output, is_restart=True, concurrency=CONCURRENCY)
        code, summary = run_batch(context, options)
    print_summary(summary)
    if code == 0:
        _say_what_next(source, output)
    ctx.exit(code)


def _say_what_next(source: Path, output: Path) -> None:
    chatq = sys.argv[0] if Path(sys.argv[0]).name == "chatq" else "chatq"
    click.echo(f"\nLook at the answers:  head -n 3 {output}")
    click.echo(
        f"Ask real models:      {chatq} providers; {chatq} run {source} -o {output.with_name('real.jsonl')}"
    )
