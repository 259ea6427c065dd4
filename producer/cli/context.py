"""What every command is given: the options of `chatq` itself, and settings read on first use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import click

from shared.providers import ProviderRegistry
from shared.routing import Router
from shared.settings import Settings, load_settings


@dataclass
class CliContext:
    """`ctx.obj` of every command. Nothing is read until a command asks for it."""

    env: Mapping[str, str]
    """The process environment."""
    config_path: Path | None = None
    """`--config`, or None; commands that load settings themselves must respect it."""
    is_verbose: bool = False
    """`--verbose`: debug log and tracebacks."""

    @cached_property
    def settings(self) -> Settings:
        """The settings; their warnings go to standard error, once.

        Raises:
            ConfigError: The file or a variable is wrong.
        """
        settings = load_settings(self.config_path, env=self.env)
        for warning in settings.warnings:
            click.echo(f"chatq: warning: {warning}", err=True)
        return settings

    @cached_property
    def registry(self) -> ProviderRegistry:
        """The providers and their keys."""
        return ProviderRegistry.from_settings(self.settings, env=self.env)

    @cached_property
    def router(self) -> Router:
        """The router over the registered providers."""
        return Router.from_settings(self.settings, self.registry)
