"""What other plugins may add to realtime."""

from __future__ import annotations
