"""The settings, each `${name}.<name>` in the .ini file."""

from __future__ import annotations

from commerce_core.plugin import Section
% if "payment" in parts:
from pydantic import Field, SecretStr
% else:
from pydantic import Field
% endif


class Settings(Section):
% if "settings" in parts:
    greeting: str = Field(default="", max_length=200, description="Put what the shop has to decide in its place.")
% endif
% if "subscriber" in parts:
    units_per_point: int = Field(default=100, ge=1, description="Minor units of a paid order that earn a point.")
% endif
% if "job" in parts:
    keep_days: int = Field(default=365, ge=1, description="For how long entries are kept, in days.")
% endif
% if "price-rule" in parts:
    bulk_from: int = Field(default=10, ge=2, description="From how many units of a variant they cost less.")
    bulk_percent: int = Field(default=10, ge=0, le=100, description="How much less, in per cent.")
% endif
% if "cart-check" in parts:
    most_units: int = Field(default=100, ge=1, description="How many units of a variant a cart may have.")
% endif
% if "payment" in parts:
    webhook_secret: SecretStr | None = Field(default=None, description="Shared with the provider.")
% endif
