from pydantic import Field, SecretStr

from commerce_core.plugin import Section


class Settings(Section):
    """`loyalty.*`."""

    units_per_point: int = Field(default=100, ge=1, description="Minor units that earn one point.")
    hold_minutes: int | None = None
    key: SecretStr | None = None
    healthy: bool = True
