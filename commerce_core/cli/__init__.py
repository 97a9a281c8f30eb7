"""The `commerce` command."""

from commerce_core.cli.main import main

__all__ = ["main"]
