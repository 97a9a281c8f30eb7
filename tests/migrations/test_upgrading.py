"""`upgrade` and `check`: in order, once, patiently, and honest about where they stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, inspect, text
from webtest import TestApp

from commerce_core import migrations
from commerce_core.application import close, make_application
from commerce_core.migrations import MigrationFailed, MigrationsPending, MigrationsRefused, Owner, Patience
from commerce_core.migrations.owners import core_tables
from commerce_core.migrations.state import current_revisions
from commerce_core.settings import CoreSettings
from tests.migrations.packages import Packages


def revisions(engine: Engine) -> dict[str, str | None]:
    with engine.connect() as connection:
        return current_revisions(connection)


def problems(engine: Engine, *owners: Owner) -> str:
    with engine.connect() as connection, pytest.raises(MigrationsPending) as raised:
        migrations.check(connection, owners)
    return str(raised.value)


def tables(engine: Engine, name: str) -> list[str]:
    with engine.connect() as connection:
        return [size.name for size in migrations.table_sizes(connection, name)]


OUTSIDE_OF_A_TRANSACTION = """
    with op.get_context().autocommit_block():
        op.execute("CREATE INDEX CONCURRENTLY loyalty_by_points ON loyalty_entry (points)")
"""


def test_plugins_come_after_what_they_require_whatever_their_order(packages: Packages, engine: Engine) -> None:
    owners = [
        packages.giftcards(requires={"loyalty": "0002", "core": "0001"}),
        packages.loyalty(_0002=OUTSIDE_OF_A_TRANSACTION),
    ]
    lines: list[str] = []
    done = migrations.upgrade(engine, owners, report=lines.append)
    assert done == [("loyalty", "0001"), ("loyalty", "0002"), ("giftcards", "0001")]
    assert lines == ["loyalty 0001: Step 0001", "loyalty 0002: Step 0002", "giftcards 0001: Step 0001"]


@pytest.mark.parametrize(
    ("requires", "problem"),
    [
        ({"core": "99999"}, "loyalty requires core 99999, and what is installed ends at"),
        ({"pricing": "0001"}, "loyalty requires pricing, which is not enabled"),
        ({"giftcards": "0002"}, "loyalty requires giftcards 0002, and what is installed ends at 0001"),
    ],
)
def test_a_requirement_that_is_missing_is_told_before_anything_is_touched(
    requires: dict[str, str], problem: str, packages: Packages, engine: Engine
) -> None:
    owners = [packages.newer_core(), packages.giftcards(), packages.loyalty(requires)]
    before = revisions(engine)
    with pytest.raises(MigrationsRefused, match=f"Nothing was done. {problem}"):
        migrations.upgrade(engine, owners)
    assert revisions(engine) == before
    assert tables(engine, "giftcards") == []
    assert problem in problems(engine, *owners)


def test_a_circle_of_requirements_is_refused(packages: Packages, engine: Engine) -> None:
    owners = [packages.giftcards({"loyalty": "0001"}), packages.loyalty({"giftcards": "0001"})]
    with pytest.raises(MigrationsRefused, match=r"require each other: (giftcards, loyalty|loyalty, giftcards)"):
        migrations.upgrade(engine, owners)


def test_check_names_everybody_who_is_not_as_the_code_needs(packages: Packages, engine: Engine) -> None:
    migrations.upgrade(engine, [packages.loyalty()])
    newer, loyalty = packages.newer_core(), packages.loyalty(_0002="pass")
    found = problems(engine, newer, packages.giftcards(), loyalty)
    assert f"core is at {migrations.head_revision()} and needs 9999" in found
    assert "giftcards is missing and needs 0001" in found
    assert "loyalty is at 0001 and needs 0002" in found
    assert "run `commerce db upgrade`" in found


def test_a_plugin_ahead_of_its_code_is_left_alone_and_the_others_go_on(packages: Packages, engine: Engine) -> None:
    migrations.upgrade(engine, [packages.loyalty(_0002="pass")])
    older = packages.loyalty()
    giftcards = packages.giftcards({"loyalty": "0001"})  # nobody can tell what there is of loyalty
    newer = packages.newer_core()
    with pytest.raises(MigrationsRefused) as raised:
        migrations.upgrade(engine, [newer, older, giftcards])
    assert "ahead of the installed code: loyalty is at 0002, and what is installed ends at 0001" in str(raised.value)
    assert "giftcards was not upgraded: it requires loyalty 0001" in str(raised.value)
    assert revisions(engine) == {"core": "9999", "loyalty": "0002"}
    assert "ahead of the installed code" in problems(engine, newer, older)


def test_nothing_is_done_where_the_core_is_ahead_of_its_code(packages: Packages, engine: Engine) -> None:
    migrations.upgrade(engine, [packages.newer_core()])
    with pytest.raises(MigrationsRefused, match="ahead of the installed code: core is at 9999"):
        migrations.upgrade(engine, [packages.loyalty()])
    assert tables(engine, "loyalty") == []


def test_a_migration_that_fails_leaves_those_before_it_done_and_says_where_it_stopped(
    packages: Packages, engine: Engine
) -> None:
    half = "op.execute('CREATE TABLE loyalty_tier ()')\nop.execute('SELECT 1 / 0')"
    broken = packages.loyalty(_0002="op.execute('CREATE TABLE loyalty_rule ()')", _0003=half, _0004="pass")
    newer, giftcards = packages.newer_core(), packages.giftcards({"loyalty": "0001"})
    with pytest.raises(MigrationFailed) as raised:
        migrations.upgrade(engine, [newer, broken, giftcards])
    said = str(raised.value)
    assert said.startswith("loyalty 0003 (")
    assert "0003_step.py:8) failed, and was rolled back: DivisionByZero: division by zero." in said
    assert "The database has core 9999, loyalty 0002" in said
    assert tables(engine, "loyalty") == ["loyalty_entry", "loyalty_rule"]
    assert tables(engine, "giftcards") == []

    mended = packages.loyalty(_0002="op.execute('CREATE TABLE loyalty_rule ()')", _0003="pass")
    assert migrations.upgrade(engine, [newer, mended, giftcards]) == [("loyalty", "0003"), ("giftcards", "0001")]


def test_two_upgraders_at_once_do_everything_once(packages: Packages, engine: Engine) -> None:
    owners = [packages.newer_core(), packages.loyalty(), packages.giftcards()]
    waits = threading.Event()
    second: list[list[tuple[str, str]]] = []
    thread = threading.Thread(
        target=lambda: second.append(migrations.upgrade(engine, owners, report=lambda _line: waits.set()))
    )

    def in_the_middle_of_the_first(_line: str) -> None:
        if not thread.ident:
            thread.start()
            assert waits.wait(60)

    first = migrations.upgrade(engine, owners, report=in_the_middle_of_the_first)
    thread.join()
    assert first == [("core", "9999"), ("loyalty", "0001"), ("giftcards", "0001")]
    assert second == [[]]


def test_a_migration_does_not_stand_for_long_in_front_of_those_who_sell(packages: Packages, engine: Engine) -> None:
    stood_back: list[float] = []
    lines: list[str] = []
    with engine.connect() as seller:
        seller.execute(text("LOCK TABLE orders IN ROW EXCLUSIVE MODE"))

        def pause(seconds: float) -> None:
            with engine.connect() as other, other.begin():  # nobody waits behind the migration
                other.execute(text("LOCK TABLE orders IN ROW EXCLUSIVE MODE NOWAIT"))
            stood_back.append(seconds)
            if len(stood_back) == 2:
                seller.rollback()

        patience = Patience(lock_timeout_ms=20, pauses=(1, 2, 4), pause=pause)
        done = migrations.upgrade(engine, [packages.loyalty()], report=lines.append, patience=patience)
    assert done == [("loyalty", "0001")]
    assert stood_back == [1, 2]
    assert lines[1] == "loyalty 0001 waits for others to let go of a table: again in 1 s"


def test_a_migration_that_never_gets_its_lock_gives_up(packages: Packages, engine: Engine) -> None:
    with engine.connect() as seller:
        seller.execute(text("LOCK TABLE orders IN ROW EXCLUSIVE MODE"))
        patience = Patience(lock_timeout_ms=20, pauses=(1, 2), pause=lambda _: None)
        with pytest.raises(MigrationFailed, match="lock timeout"):
            migrations.upgrade(engine, [packages.loyalty()], patience=patience)
    assert "loyalty" not in revisions(engine)


def test_what_the_cores_migrations_make_is_known_to_be_the_cores(engine: Engine) -> None:
    assert core_tables() == set(inspect(engine).get_table_names()) - {"commerce_migration_core"}


def test_each_owner_sees_its_own_tables_only(packages: Packages, engine: Engine) -> None:
    owners = [migrations.CORE, packages.loyalty(), packages.giftcards()]
    migrations.upgrade(engine, owners)
    with engine.begin() as connection:
        assert [migrations.drift(connection, owner) for owner in owners] == [[], [], []]
        connection.execute(text("ALTER TABLE giftcards_card DROP COLUMN user_id CASCADE"))
        connection.execute(text("ALTER TABLE loyalty_entry ADD COLUMN more int"))
        connection.execute(text("ALTER TABLE brand ADD COLUMN more int"))
        for owner, column in zip(owners, ("brand", "loyalty_entry", "giftcards_card"), strict=True):
            assert column in str(migrations.drift(connection, owner))
            assert len(migrations.drift(connection, owner)) <= 2  # the column, and its foreign key


def test_a_revision_is_written_into_the_owners_own_folder(packages: Packages, engine: Engine) -> None:
    migrations.upgrade(engine, [packages.loyalty(), packages.giftcards()])
    models = """
        entry = Table(
            "loyalty_entry", Base.metadata,
            Column("order_id", Uuid, ForeignKey("orders.id", ondelete="CASCADE"), primary_key=True),
            Column("points", Integer, nullable=False),
            Column("note", Text),
        )
    """
    owner = packages.install("loyalty", models, {"0001": "pass"})
    with engine.connect() as connection:
        written = migrations.write_revision(connection, owner, "Add a note")
        assert written == owner.folder / "0002_add_a_note.py"
        operations = [
            line.strip() for line in written.read_text().splitlines() if "op." in line and "import" not in line
        ]
        assert operations == [
            "op.add_column('loyalty_entry', sa.Column('note', sa.Text(), nullable=True))",
            "op.drop_column('loyalty_entry', 'note')",
        ]
        with pytest.raises(MigrationsPending, match="loyalty is at 0001 in this database, and not at 0002"):
            migrations.write_revision(connection, owner, "Another")

    assert migrations.upgrade(engine, [owner]) == [("loyalty", "0002")]
    with engine.connect() as connection:
        assert migrations.drift(connection, owner) == []
        with pytest.raises(MigrationsRefused, match="the models are as the database is"):
            migrations.write_revision(connection, owner, "Nothing")
        assert migrations.write_revision(connection, owner, "By hand", empty=True).name == "0003_by_hand.py"


BRANCHED = "revision = {!r}\ndown_revision = {!r}\ndef upgrade(): pass\n"


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        ("0002_b.py", BRANCHED.format("0003", "0001"), "it has two ends, 0002 and 0003"),
        ("0002_b.py", BRANCHED.format("0003", "0002") + "branch_labels = 'loyalty'", "branch_labels or depends_on"),
        ("0002_b.py", BRANCHED.format("3" * 33, "0002"), "longer than 32 characters"),
        ("0002_b.py", BRANCHED.format("0003", "0009"), "cannot be read: .*0009"),
        ("0002_b.py", "import nothing_of_this_name", "cannot be read: No module named 'nothing_of_this_name'"),
    ],
)
def test_revisions_that_are_not_one_line_are_refused(file: str, text: str, problem: str, packages: Packages) -> None:
    owner = packages.loyalty(_0002="pass")
    (owner.folder / file).write_text(text)
    with pytest.raises(MigrationsRefused, match=f"loyalty: .*{problem}"):
        migrations.head_revision(owner)


def test_two_files_of_one_revision_are_refused(packages: Packages) -> None:
    owner = packages.loyalty(_0002="pass")
    (owner.folder / "0002_b.py").write_text(BRANCHED.format("0002", "0001"))
    with pytest.warns(UserWarning, match="more than once"), pytest.raises(MigrationsRefused, match="the same revision"):
        migrations.head_revision(owner)


def test_nothing_is_done_where_a_plugins_revisions_cannot_be_used(packages: Packages, engine: Engine) -> None:
    owner = packages.loyalty()
    (owner.folder / "0002_b.py").write_text("1 / 0")
    before = revisions(engine)
    with pytest.raises(MigrationsRefused, match="cannot be read: division by zero"):
        migrations.upgrade(engine, [packages.newer_core(), owner])
    assert revisions(engine) == before


@pytest.mark.parametrize(
    "declare",
    [
        lambda packages: packages.install("order", "", {}),
        lambda packages: packages.install("loyalty", "", {}, requires={"core": 20}),
    ],
    ids=["a name of the core's", "REQUIRES of numbers"],
)
def test_what_cannot_be_an_owner_is_refused(declare: Callable[[Packages], Owner], packages: Packages) -> None:
    with pytest.raises(MigrationsRefused):
        declare(packages)


def test_a_shop_serves_and_starts_while_the_database_is_ahead_of_it(
    application: Any, settings: CoreSettings, packages: Packages, engine: Engine
) -> None:
    """As during an upgrade, and after the shop was set back to the version before."""
    migrations.upgrade(engine, [packages.newer_core()])
    assert TestApp(application).get("/readyz").json["checks"]["migrations"] == "ok"
    started = make_application(settings)
    assert TestApp(started).get("/readyz").status_code == 200
    close(started.registry)
