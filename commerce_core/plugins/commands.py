"""`commerce plugins`, and the commands that plugins add."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from commerce_core.cli.shop import config_argument, open_database

if TYPE_CHECKING:
    from commerce_core.plugins.host import PluginHost
    from commerce_core.plugins.loading import Candidate


@click.group()
def plugins() -> None:
    """See which plugins there are, and what is wrong with them."""


@plugins.command("list")
@click.option("--installed", "everything", is_flag=True, help="Those that are not enabled, too.")
@config_argument
def list_plugins(config: str, everything: bool) -> None:
    """The enabled plugins, in the order in which they are asked. Imports their declarations only."""
    from rich.console import Console
    from rich.table import Table

    from commerce_core.plugins.loading import declared, installed
    from commerce_core.settings import load_settings

    candidates = declared(load_settings(config))
    table = Table("plugin", "distribution", "state", "needs", "can do")
    for each in candidates:
        plugin = each.plugin
        state = "broken: see commerce plugins doctor" if each.mistakes else "enabled"
        needs = ", ".join(plugin.requires) if plugin else ""
        can_do = ", ".join(plugin.capabilities) if plugin else ""
        table.add_row(each.name, each.distribution or "not installed", state, needs, can_do)
    for name, found in sorted(installed().items()) if everything else ():
        if name not in {each.name for each in candidates}:
            table.add_row(name, f"{found.dist.name} {found.dist.version}" if found.dist else "", "not enabled", "", "")
    Console().print(table if table.row_count else "No plugin is enabled.")


@plugins.command()
@config_argument
def doctor(config: str) -> None:
    """Put the shop together, and say all that is wrong with its plugins, or what each of them does. Needs no database.

    Exit 1 if the shop would not start.
    """
    from commerce_core.application import check_plugins
    from commerce_core.settings import load_settings

    settings = load_settings(config)
    host = check_plugins(settings)  # raises with everything that is wrong
    for each in host.candidates:
        if each.mistakes:
            click.echo(f"{each.name}: not loaded, and the shop does without it:")
            for mistake in each.mistakes:
                click.echo(f"  {mistake}")
        else:
            _describe(host, each)
    for name in settings.ignored:
        click.echo(f"{name}: has settings, and is not enabled: they are ignored")
    count = len(host.plugins)
    click.echo(f"{count} plugin{'' if count == 1 else 's'} enabled, and sound.")


def _describe(host: PluginHost, candidate: Candidate) -> None:
    facts = {
        "implements": ", ".join(sorted(hook.removeprefix("commerce_") for hook in host.hooks_of(candidate.name))),
        "tables": ", ".join(sorted(candidate.tables)),
        "settings": ", ".join(type(candidate.settings).model_fields) if candidate.settings else "",
        "needs": ", ".join(candidate.plugin.requires) if candidate.plugin else "",
    }
    click.echo(f"{candidate.name} ({candidate.distribution or 'no distribution'})")
    for what, found in facts.items():
        if found:
            click.echo(f"  {what}: {found}")


@plugins.command("new")
@click.argument("name")
@click.option("--with", "parts", default="", help="What it should have, as models,route,field; `all` for everything.")
@click.option(
    "--dir",
    "folder",
    default=".",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where to put its folder, commerce-NAME.",
)
def new(name: str, parts: str, folder: Path) -> None:
    """Write a new plugin, with tests, to go on from."""
    from commerce_core.plugins.loading import installed
    from commerce_core.plugins.scaffold import PARTS, ScaffoldRefused, with_needed, write_plugin

    if name in installed():
        raise click.ClickException(f"A plugin {name} is installed here: call this one something else.")
    wanted = list(PARTS) if parts == "all" else [part for part in re.split(r"[,\s]+", parts) if part]
    try:
        written = write_plugin(name, wanted, folder)
    except ScaffoldRefused as error:
        raise click.ClickException(str(error)) from None
    added = [part for part in with_needed(wanted) if part not in wanted]
    root = folder / f"commerce-{name}"
    click.echo(f"Wrote {len(written)} files into {root}{f', with {added[0]}, which others need' if added else ''}.")
    click.echo(
        f"Go on with:\n  cd {root}\n  python3 -m venv .venv\n  .venv/bin/pip install -e '.[dev]'\n  .venv/bin/pytest"
    )
    missing = [part for part in PARTS if part not in with_needed(wanted)]
    if missing:
        click.echo(f"There is also, for --with: {', '.join(missing)}.")


@plugins.command("config")
@click.argument("name")
def show_config(name: str) -> None:
    """The settings of an installed plugin, as lines for the .ini file: those with a default behind a #."""
    from pydantic import SecretStr

    from commerce_core.plugins.loading import installed

    section = _settings_class(name, list(installed()))
    if section is None:
        click.echo(f"# {name} has no settings.")
        return
    for key, field in section.model_fields.items():
        if field.description:
            click.echo(f"# {field.description}")
        kind = "a secret; better: " + f"{name}.{key}_file" if field.annotation is SecretStr else ""
        if kind:
            click.echo(f"# {kind}")
        if field.is_required():
            click.echo(f"{name}.{key} =")
        else:
            default = field.get_default(call_default_factory=True)
            shown = ", ".join(map(str, default)) if isinstance(default, tuple) else default
            click.echo(f"# {name}.{key} = {'' if shown is None else shown}".rstrip())


@plugins.command()
@click.argument("name")
@config_argument
def blockers(name: str, config: str) -> None:
    """Say what an enabled plugin has still open: settle it before you take the plugin out. Exit 1 if there is any."""
    from commerce_core.settings import load_settings

    if name not in load_settings(config).commerce.plugins:
        raise click.ClickException(f"{name} is not enabled in {config}.")
    found = _blockers(name, config)
    if found:
        raise click.ClickException("\n  ".join([f"{name} cannot go yet:", *found]))
    click.echo(f"Nothing of {name} is open.")


def _blockers(name: str, config: str) -> list[str]:
    from sqlalchemy.orm import Session

    from commerce_core.cli.shop import open_shop
    from commerce_core.plugins.context import Context

    with open_shop(config) as shop, Session(shop.engine) as session:
        host: PluginHost = shop.registry.plugins
        found = host.hook("commerce_disable_blockers").collect(Context(host, session=session))
        return [reason for implementation, reason in found if implementation.plugin == name]


@plugins.command()
@click.argument("name")
@config_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--by-name", is_flag=True, help="Do not load the plugin, nor run its migrations backwards.")
def purge(name: str, config: str, yes: bool, by_name: bool) -> None:
    """Drop all of a plugin's tables, for good. Works without its code, too."""
    from commerce_core import migrations

    with open_database(config) as database:
        owners = {owner.name: owner for owner in database.owners}
        needed_by = [owner.name for owner in database.owners if name in owner.requires]
        if needed_by:
            raise click.ClickException(f"{', '.join(needed_by)} needs {name}, and is enabled.")
        with database.engine.connect() as connection:
            found = migrations.belongings(connection, name)
        click.echo(f"{name} is at {found.revision or 'no revision'} and has:")
        for size in found.tables:
            click.echo(f"  {size}")
        if name in owners:
            click.echo("It is still enabled: processes that run now will miss their tables.")
            for reason in [] if by_name else _blockers(name, config):
                click.echo(f"Still open: {reason}")
        if not yes:
            click.confirm("Drop all of it?", abort=True)
        migrations.purge(database.engine, name, None if by_name else owners.get(name), report=click.echo)
    click.echo(f"Nothing of {name} is left.")
    if name in owners:
        click.echo("Take it out of commerce.plugins, or `commerce db upgrade` makes its tables again.")


def _settings_class(name: str, known: Sequence[str]) -> Any:
    """What the installed plugin `name` has for settings; None if nothing."""
    import importlib

    from commerce_core.plugins.loading import installed

    if name not in known:
        like = difflib.get_close_matches(name, known, n=1)
        mend = f"did you mean {like[0]}?" if like else f"there are {', '.join(sorted(known)) or 'none'}"
        raise click.ClickException(f"No plugin {name!r} is installed; {mend}")
    plugin = installed()[name].load()
    if plugin.settings is None:
        return None
    module, _, attribute = plugin.settings.partition(":")
    return getattr(importlib.import_module(module), attribute)


class PluginGroup(click.Group):
    """The commands of a plugin. One that is called like the plugin is what is run when none is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if (
            self.name is not None
            and self.name in self.commands
            and not (args and args[0] in {*self.commands, *ctx.help_option_names})
        ):
            args = [self.name, *args]
        return super().parse_args(ctx, args)


def command_of_plugin(name: str, arguments: Sequence[str]) -> click.Group | None:
    """`commerce <name>`: the commands of a plugin that is enabled in the .ini file among the arguments.

    None if no plugin of this name is installed. Raises ClickException where it is not enabled or has no commands, and
    BrokenPlugins.
    """
    from commerce_core.clock import Clock
    from commerce_core.plugins.host import PluginHost
    from commerce_core.settings import is_installed, load_settings

    if not is_installed(name):
        return None
    config = _config_among(arguments)
    settings = load_settings(config)
    if name not in settings.commerce.plugins:
        raise click.ClickException(f"The plugin {name} is not enabled in {config}: list it in commerce.plugins.")
    host = PluginHost.load(settings, Clock())
    host.raise_mistakes()
    group = PluginGroup(name, help=f"Commands of the plugin {name}.")
    for implementation in host.hook("commerce_register_commands").implementations:
        if implementation.plugin == name:
            for command in implementation.function():
                group.add_command(command)
    if not group.commands:
        raise click.ClickException(f"The plugin {name} has no commands.")
    return group


def _config_among(arguments: Sequence[str]) -> str:
    """The last argument that is a file, else what a command takes without one."""
    given = [argument for argument in arguments if Path(argument).is_file()]
    return given[-1] if given else os.environ.get("COMMERCE_CONFIG", "development.ini")
