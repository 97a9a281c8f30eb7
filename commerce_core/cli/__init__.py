"""The `commerce` command."""

import gc

# What a command imports and makes is no garbage: to look for some after each 700 objects takes a fifth of its start.
gc.set_threshold(50_000, 20, 100)

from commerce_core.cli.main import main  # noqa: E402

__all__ = ["main"]
