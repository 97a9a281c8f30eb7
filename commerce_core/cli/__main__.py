"""`python -m commerce_core.cli` is `commerce`, whatever is on PATH: this is how the supervisor starts its children."""

from commerce_core.cli import main

main(prog_name="commerce")
