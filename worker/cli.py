"""`chatq worker`: run jobs."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from contextlib import ExitStack
from pathlib import Path

import click

from shared.errors import ConfigError
from shared.parent import follow_me, follow_option, followed
from shared.providers import Provider, ProviderRegistry
from shared.settings import Settings, load_settings
from shared.store.embedded import EmbeddedServer
from shared.supervisor import Supervisor
from worker.process import Plan, WorkerProcess

try:
    import uvloop
except ImportError:  # none for this platform: the standard loop does the same, slower
    uvloop = None  # type: ignore[assignment]


@click.command()
@click.option(
    "--providers", metavar="A,B", help="Serve only these providers' queues (default: all registered)."
)
@click.option("--concurrency", type=click.IntRange(1, 20_000), help="Jobs in flight per process.")
@click.option("--processes", type=click.IntRange(1, 64), help="Worker processes; one per core is plenty.")
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65_535),
    help="Serve Prometheus metrics on 127.0.0.1 from this port on: each process takes the next free one. 0: off.",
)
@click.option("--burst", is_flag=True, help="End when nothing is queued, due or in flight.")
@follow_option("Drain")
@click.pass_context
def worker(
    ctx: click.Context,
    providers: str | None,
    concurrency: int | None,
    processes: int | None,
    metrics_port: int | None,
    burst: bool,
    parent: int | None,
) -> None:
    """Claim jobs, call providers, store results.

    SIGTERM or Ctrl-C drains; a second one gives the running jobs back at once.
    """
    config_path: Path | None = getattr(ctx.obj, "config_path", None)
    settings = load_settings(config_path, env=os.environ)
    for warning in settings.warnings:
        click.echo(f"chatq: warning: {warning}", err=True)
    logging.basicConfig(
        level=settings.log.level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    registry = ProviderRegistry.from_settings(settings, env=os.environ)
    served = _served(providers.split(",") if providers else list(settings.worker.providers), registry)
    with ExitStack() as stack:
        url = settings.redis.url
        if not url:
            server = stack.enter_context(EmbeddedServer(settings.redis.data_dir))
            for warning in server.warnings:
                click.echo(f"chatq: warning: {warning}", err=True)
            url = server.url
        plan = Plan(
            url,
            served,
            concurrency or settings.worker.concurrency,
            burst,
            followed(parent),
            settings.worker.metrics_port if metrics_port is None else metrics_port,
        )
        count = processes or settings.worker.processes
        if count == 1:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop if uvloop else None) as runner:
                runner.run(WorkerProcess(plan, settings, registry).run())
        else:
            ctx.exit(Supervisor([_child_command(plan)] * count, env=_child_env(settings, url)).run())


def _served(names: list[str], registry: ProviderRegistry) -> dict[str, Provider]:
    """The providers to serve.

    Raises:
        ProviderNotFound: One named is not registered.
        ConfigError: None is left.
    """
    served = {name: registry.get(name) for name in names} if names else dict(registry.registered)
    if not served:
        raise ConfigError("no provider is registered: set a key or a base_url (see `chatq config check`)")
    return served


def _child_command(plan: Plan) -> list[str]:
    command = [sys.executable, "-m", "worker", "--processes", "1", follow_me()]
    command += ["--providers", ",".join(plan.providers), "--concurrency", str(plan.concurrency)]
    command += ["--metrics-port", str(plan.metrics_port)]
    return [*command, "--burst"] if plan.is_burst else command


def _child_env(settings: Settings, redis_url: str) -> dict[str, str]:
    env = {**os.environ, "CHATQ_REDIS_URL": redis_url}
    return {**env, "CHATQ_CONFIG": str(settings.source)} if settings.source else env
