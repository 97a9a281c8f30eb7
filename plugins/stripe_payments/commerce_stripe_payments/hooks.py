"""What the plugin brings to a shop."""

from __future__ import annotations
