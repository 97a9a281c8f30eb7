"""The command group: where each command lives, and how errors of the user are told.

A command's module is imported only when it is called or listed, and imports what is heavy inside its functions, so
that `commerce --help` stays quick.
"""

from __future__ import annotations

import importlib
from typing import Any

import click

COMMANDS = {
    "serve": "commerce_core.cli.serve:serve",
    "web": "commerce_core.cli.web:web",
    "worker": "commerce_core.jobs.commands:worker",
    "scheduler": "commerce_core.jobs.commands:scheduler",
    "jobs": "commerce_core.jobs.commands:jobs",
    "db": "commerce_core.cli.db:db",
    "demo": "commerce_core.demo.commands:demo",
    "cache": "commerce_core.cli.cache:cache",
    "catalogue": "commerce_core.imports.commands:catalogue",
    "stock": "commerce_core.imports.commands:stock",
    "mail": "commerce_core.mail.commands:mail",
    "webhooks": "commerce_core.webhooks.commands:webhooks",
    "user": "commerce_core.accounts.commands:user",
    "monitor": "commerce_core.monitor.commands:monitor",
    "maintenance": "commerce_core.maintenance.commands:maintenance",
    "plugins": "commerce_core.plugins.commands:plugins",
    "settings": "commerce_core.cli.settings:settings",
    "openapi": "commerce_core.cli.openapi:openapi",
}


class CommerceGroup(click.Group):
    """Commands by name, imported when needed. Those of a plugin are below the plugin's name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """A command of ours, or the group of a plugin that is enabled."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from commerce_core.plugins.commands import command_of_plugin

            group = command_of_plugin(args[0], args[1:])
            if group is not None:
                return args[0], group, args[1:]
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Show what the user can mend as a message; a traceback is for our own mistakes."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            if isinstance(error, _user_errors()):
                raise click.ClickException(str(error).partition("\n(Background on this error")[0]) from error
            raise


def _user_errors() -> tuple[type[Exception], ...]:
    from sqlalchemy.exc import OperationalError

    from commerce_core.embedded import EmbeddedPostgresError
    from commerce_core.migrations import MigrationsError
    from commerce_core.plugins.mistakes import BrokenPlugins
    from commerce_core.settings import SettingsError

    return (SettingsError, BrokenPlugins, EmbeddedPostgresError, MigrationsError, OperationalError)


@click.group(cls=CommerceGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="commerce-core", prog_name="commerce")
def main() -> None:
    """Headless commerce that cannot oversell."""
