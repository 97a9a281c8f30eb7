"""The `commerce` command. Each room's `commands.py` holds its own subcommands; this file only gathers them."""

from commerce_core.cli.main import main

__all__ = ["main"]
