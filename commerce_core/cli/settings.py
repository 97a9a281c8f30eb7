"""`commerce settings`: what the shop would run with."""

from __future__ import annotations

import re

import click
from pydantic import SecretStr

from commerce_core.cli.shop import config_argument


@click.group()
def settings() -> None:
    """Show or check the settings of an .ini file and the environment."""


@settings.command()
@config_argument
def show(config: str) -> None:
    """Every setting with its value, secrets masked, in the form of the .ini file."""
    from commerce_core.settings import CoreSettings, load_settings

    loaded = load_settings(config)
    sections = {name: getattr(loaded, name) for name in CoreSettings.model_fields}
    if loaded.commerce.plugins:
        from commerce_core.application import check_plugins

        sections |= {each.name: each.settings for each in check_plugins(loaded).candidates if each.settings}
    for section, settings_of_section in sections.items():
        for key, value in settings_of_section:
            shown = "********" if isinstance(value, SecretStr) else value
            if isinstance(value, tuple):
                shown = ", ".join(map(str, value))
            if key.endswith(("url", "urls")) and value is not None:
                shown = _without_password(str(shown))
            click.echo(f"{section}.{key} = {'' if shown is None else shown}")


def _without_password(url: str) -> str:
    return re.sub(r"(?<=://)([^/@]*?):[^@]*@", r"\1:********@", url)


@settings.command()
@config_argument
def check(config: str) -> None:
    """Report every problem at once, those of plugins, too; exit 1 if there is one."""
    from commerce_core.application import check_plugins
    from commerce_core.plugins.mistakes import BrokenPlugins
    from commerce_core.settings import SettingsError, load_settings

    try:
        check_plugins(load_settings(config))
    except SettingsError as error:
        if error.rest is not None:
            try:
                check_plugins(error.rest)
            except BrokenPlugins as more:
                raise click.ClickException(f"{error}\n{more}") from None
        raise
    click.echo(f"The settings of {config} are good.")
