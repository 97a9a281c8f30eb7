"""Alembic's environment; the connection and the version table come from `migrations.alembic_config`."""

from alembic import context

import commerce_core.models
from commerce_core.database import Base

_attributes = context.config.attributes
_tables = set(Base.metadata.tables)
assert commerce_core.models


def _include_name(name: str | None, kind: str, _parents: object) -> bool:
    """Leave alone what other owners have put into the database."""
    return kind != "table" or name in _tables


context.configure(
    connection=_attributes["connection"],
    target_metadata=Base.metadata,
    version_table=_attributes["version_table"],
    transaction_per_migration=True,
    include_name=_include_name,
)
with context.begin_transaction():
    context.run_migrations()
