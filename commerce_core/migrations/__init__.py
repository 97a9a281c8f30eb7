"""Schema migrations: Alembic, run by `commerce db upgrade` and never at web start.

Each owner (the core, and every plugin with tables) has its revisions in a folder of its own and a version table of its
own, `commerce_migration_<owner>`, so that one can be gone, ahead or broken without the others. One advisory lock lets
several upgraders start at once: the second waits and finds nothing to do.

`owners` are everywhere those of the enabled plugins; the core is always meant, too.
"""

from commerce_core.migrations.history import alembic_config
from commerce_core.migrations.owners import CORE, MigrationsError, MigrationsRefused, Owner, owner_of_plugin
from commerce_core.migrations.purging import belongings, purge
from commerce_core.migrations.revising import drift, write_revision
from commerce_core.migrations.rules import ANCHORS, forbidden_foreign_keys, foreign_tables, foreign_types
from commerce_core.migrations.running import MigrationFailed, Patience, upgrade
from commerce_core.migrations.state import (
    MigrationsPending,
    OwnerState,
    TableSize,
    check,
    current_revision,
    head_revision,
    states,
    table_sizes,
)

__all__ = [
    "ANCHORS",
    "CORE",
    "MigrationFailed",
    "MigrationsError",
    "MigrationsPending",
    "MigrationsRefused",
    "Owner",
    "OwnerState",
    "Patience",
    "TableSize",
    "alembic_config",
    "belongings",
    "check",
    "current_revision",
    "drift",
    "forbidden_foreign_keys",
    "foreign_tables",
    "foreign_types",
    "head_revision",
    "owner_of_plugin",
    "purge",
    "states",
    "table_sizes",
    "upgrade",
    "write_revision",
]
