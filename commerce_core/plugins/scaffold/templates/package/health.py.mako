"""What `/readyz` says of it, as `${name}.<name>`."""

from __future__ import annotations

import shutil
import tempfile

from commerce_core.plugin import HealthCheck

ENOUGH_BYTES = 10 * 1_048_576


def _check_space() -> None:
    """Called at most every five seconds, in a thread of its own. Raise if something is out of order."""
    if shutil.disk_usage(tempfile.gettempdir()).free < ENOUGH_BYTES:
        raise RuntimeError("there is no room for temporary files")


SPACE = HealthCheck(name="space", check=_check_space)
