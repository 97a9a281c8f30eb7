"""What other plugins may add to realtime. They need `requires=("realtime",)`."""

# mypy: disable-error-code="empty-body"

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from commerce_core.plugin import hookspec
from commerce_realtime.channels import ChannelRule


@hookspec
def realtime_register_channels(settings: Any) -> Iterable[ChannelRule]:
    """Private and presence channels of the plugin's own: who may subscribe.

    When: at startup.
    Returns: rules. The core's, and those of plugins listed before, are asked first.
    Since: 0.1
    """
