from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import structlog
from sqlalchemy import Engine, text
from structlog.testing import capture_logs

from commerce_core.database import Base

SAMPLES = Path(__file__).parent / "samples"
Install = Callable[..., Path]


@pytest.fixture(autouse=True)
def _samples_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugins in samples/, as if a distribution had brought them."""
    monkeypatch.syspath_prepend(SAMPLES)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """`install("loyal", hooks="...")`: a distribution with a plugin, in a package of its own; the package's folder.

    `declares` are more arguments of `Plugin`, `init` replaces the whole declaration, other names are other modules.
    Afterwards it is as if it had never been imported.
    """
    root = tmp_path / "site-packages"
    root.mkdir()
    monkeypatch.syspath_prepend(root)
    before = set(sys.modules), set(Base.metadata.tables)

    def write(name: str, hooks: str = "", *, declares: str = "", init: str | None = None, **modules: str) -> Path:
        package = root / f"made_{name}"
        package.mkdir()
        declaration = f"""
        from commerce_core.plugin import Plugin

        plugin = Plugin(name={name!r}, hooks="made_{name}.hooks", {declares})
        """
        head = "from commerce_core.plugin import Section, hookimpl\n"
        texts = {"__init__": declaration if init is None else init, "hooks": hooks, **modules}
        for module, code in texts.items():
            prefix = "" if module == "__init__" else head
            (package / f"{module}.py").write_text(prefix + dedent(code))
        info = root / f"made_{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: made-{name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[commerce.plugins]\n{name} = made_{name}:plugin\n")
        return package

    yield write
    for module in set(sys.modules) - before[0]:
        if module.startswith("made_"):
            del sys.modules[module]
    for table in set(Base.metadata.tables) - before[1]:
        Base.metadata.remove(Base.metadata.tables[table])


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The lines that the host writes into the log."""
    everything = structlog.make_filtering_bound_logger(0)
    for module in ("calls", "host", "startup", "health"):
        # A logger remembers how it was set up when it was first used.
        monkeypatch.setattr(
            f"commerce_core.plugins.{module}._log", structlog.wrap_logger(None, wrapper_class=everything)
        )
    with capture_logs() as lines:
        yield lines


@pytest.fixture
def rows(engine: Engine) -> Callable[[], dict[str, int]]:
    """`rows()`: how many holds, orders, carts and movements there are."""

    def count() -> dict[str, int]:
        with engine.connect() as connection:
            return {
                table: connection.scalar(text(f"SELECT count(*) FROM {table}")) or 0  # noqa: S608
                for table in ("hold", "orders", "cart_line", "stock_movement", "payment", "order_event", "job")
            }

    return count
