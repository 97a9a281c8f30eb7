"""Alembic's environment, for every owner; what is whose comes from `alembic_config`."""

from alembic import context

from commerce_core.database import Base

_attributes = context.config.attributes
_owner = _attributes["owner"]

context.configure(
    connection=_attributes["connection"],
    target_metadata=Base.metadata,  # for its names of constraints; of tables it has those that were imported
    version_table=_owner.version_table,
    transaction_per_migration=True,
    **_owner.filters(),
)
with context.begin_transaction():
    context.run_migrations()
