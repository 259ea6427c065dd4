"""`chatq demo`: the whole way, on this machine alone: embedded Redis, worker, and simulated providers."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click

from producer.batch.lines import count_lines
from producer.cli.context import CliContext
from producer.cli.run import Options, run_batch
from producer.cli.summary import print_summary
from shared.errors import ConfigError

READY_LIMIT_S = 20.0
"""How long the simulator may take to open its port."""

CONCURRENCY = 60
"""Few enough that the bar is seen to move."""

SIMULATOR = (
    sys.executable, "-m", "simulator", "--port", "0", "--seed", "7", "--latency", "lognormal:0.3,0.5",
    "--fault", "503=0.03", "--fault", "429=0.03", "--fault", "reset=0.02", "--fault-first", "1",
)  # fmt: skip
"""Answers like a provider on a fair day; a few first tries fail, so that retries are part of the show."""

DEMO_KEYS = {"OLLAMA_CLOUD_KEY": "demo", "OPENROUTER_API_KEY": "demo"}


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
    # Unasked ends must take the children along, like Ctrl-C does.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="chatq-demo-"))
    try:
        with _simulator(folder, ctx.obj.env) as url:
            click.echo(
                f"{count_lines(source)} prompts for ollama, ollama_cloud and openrouter, played by a simulator\n"
                "auto:smart is a group of three models: a selector rates each of its prompts first"
            )
            config = folder / "chatq.toml"
            config.write_text(_settings(url, folder), encoding="utf-8")
            context = CliContext(env=_env(ctx.obj.env), config_path=config)
            options = Options(source, output, is_restart=True, concurrency=CONCURRENCY)
            code, summary = run_batch(context, options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
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


@contextmanager
def _simulator(folder: Path, env: Mapping[str, str]) -> Iterator[str]:
    """A simulator on a free port, ended whatever happens; its URL.

    Raises:
        ConfigError: It does not start.
    """
    ready, log = folder / "simulator.url", folder / "simulator.log"
    with log.open("wb") as sink:
        # A session of its own: Ctrl-C is for the run, which lets running calls finish before this ends.
        process = subprocess.Popen(
            [*SIMULATOR, "--ready-file", str(ready)],
            env=dict(env), stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True,
        )  # fmt: skip
    try:
        give_up_at = time.monotonic() + READY_LIMIT_S
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > give_up_at:
                words = " ".join(log.read_text(errors="replace").split())[-500:]
                raise ConfigError(f"the simulator does not start: {words}")
            time.sleep(0.02)
        yield ready.read_text().strip()
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _settings(url: str, folder: Path) -> str:
    """Every provider at the simulator, state in the folder, and leases so short that a killed worker is no wait.

    One name in the examples is a group: a selector rates its prompts, and they go to three models.
    """
    return f"""
[redis]
data_dir = "{folder}"
[worker]
lease_s = 4.0
renew_s = 1.0
[providers.ollama]
base_url = "{url}/ollama"
[providers.ollama_cloud]
base_url = "{url}/ollama_cloud"
[providers.openrouter]
base_url = "{url}/openrouter/v1"
[providers.opencode]
base_url = ""
[providers.kimi]
base_url = ""
[groups."auto:smart"]
strategy = "classifier"
selector = "openrouter/openai/gpt-5.4-nano"
complexity_threshold = 10
targets = ["ollama/qwen3.5:latest", "ollama_cloud/deepseek-v3.2", "openrouter/anthropic/claude-sonnet-4.5"]
"""


def _env(env: Mapping[str, str]) -> dict[str, str]:
    """The environment without anybody's real settings and keys."""
    return {name: value for name, value in env.items() if not name.startswith("CHATQ_")} | DEMO_KEYS
