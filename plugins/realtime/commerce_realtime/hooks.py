"""What realtime brings to the shop."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from commerce_core.plugin import Process, hookimpl

if TYPE_CHECKING:
    import click


@hookimpl
def commerce_register_commands() -> Iterable[click.Command]:
    from commerce_realtime.commands import realtime

    return [realtime]


@hookimpl
def commerce_register_processes() -> Iterable[Process]:
    return [Process(name="realtime", command=("realtime",))]
