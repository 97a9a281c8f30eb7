"""Install, migrate, use, disable, uninstall, reinstall, purge: and the shop goes on, whatever the plugin does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, text
from webtest import TestApp

from commerce_core import migrations
from commerce_core.carts.sweep import expire_carts, forget_closed_carts
from commerce_core.migrations import MigrationsRefused
from commerce_core.testing import SignedIn, StoppedClock
from tests.migrations.packages import Packages
from tests.support.till import Till


def standing(engine: Engine, *owners: migrations.Owner) -> dict[str, tuple[str, str | None]]:
    with engine.connect() as connection:
        return {state.name: (state.state, state.revision) for state in migrations.states(connection, owners)}


def sizes(engine: Engine, name: str) -> list[str]:
    with engine.connect() as connection:
        return [str(size) for size in migrations.table_sizes(connection, name)]


def execute(engine: Engine, statement: str, **parameters: Any) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement), parameters)


def left_of(engine: Engine, name: str) -> list[str]:
    """Whatever is called after a plugin, of any kind."""
    with engine.connect() as connection:
        return list(
            connection.scalars(
                text(
                    "SELECT name FROM (SELECT relname AS name FROM pg_class UNION ALL SELECT proname FROM pg_proc"
                    " UNION ALL SELECT typname FROM pg_type) AS objects"
                    " WHERE starts_with(name, :name || '_') OR name = 'commerce_migration_' || :name"
                ),
                {"name": name},
            )
        )


@pytest.mark.parametrize("names", [("loyalty", "giftcards"), ("giftcards", "loyalty")])
def test_a_plugin_comes_and_goes_and_the_orders_stay(
    names: tuple[str, str],
    packages: Packages,
    engine: Engine,
    till: Till,
    make_variant: Callable[..., UUID],
) -> None:
    first, second = names
    install = {"loyalty": packages.loyalty, "giftcards": packages.giftcards}
    owners = {name: install[name]() for name in names}

    # Both are installed and used. Their revisions have the same id.
    done = migrations.upgrade(engine, list(owners.values()))
    assert done == [(first, "0001"), (second, "0001")]
    order = till.buy({make_variant(): 1})
    execute(engine, "INSERT INTO loyalty_entry VALUES (:order_id, 7)", order_id=order["id"])
    execute(engine, "INSERT INTO giftcards_card VALUES ('A', 'new', NULL), ('B', 'used', NULL)")
    with engine.connect() as connection:
        migrations.check(connection, list(owners.values()))

    # The first is disabled, and nothing else changes.
    assert standing(engine, owners[second])[first] == ("ORPHAN", "0001")
    with engine.connect() as connection:
        migrations.check(connection, [owners[second]])
        assert migrations.drift(connection, migrations.CORE) == []
    assert till.show(order)["status"] == order["status"]

    # Both are uninstalled; the core goes on.
    packages.uninstall_all()
    assert till.show(order)["lines"] == order["lines"]
    newer = packages.newer_core()
    assert migrations.upgrade(engine, [newer]) == [("core", "9999")]
    found = {"core": ("up to date", "9999"), first: ("ORPHAN", "0001"), second: ("ORPHAN", "0001")}
    assert standing(engine, newer) == found
    assert sizes(engine, "loyalty") == ["loyalty_entry (1 rows)"]
    assert sizes(engine, "giftcards") == ["giftcards_card (2 rows)"]

    # They come back to what they have left.
    owners = {name: install[name]() for name in names}
    assert migrations.upgrade(engine, [newer, *owners.values()]) == []
    assert sizes(engine, "loyalty") == ["loyalty_entry (1 rows)"]

    # The first is purged with its code, the second without.
    migrations.purge(engine, first, owners[first])
    assert left_of(engine, first) == []
    assert sizes(engine, second) != []
    packages.uninstall_all()
    migrations.purge(engine, second)
    assert left_of(engine, second) == []
    assert standing(engine, newer) == {"core": ("up to date", "9999")}
    assert till.show(order)["lines"] == order["lines"]

    # And may be installed anew.
    assert migrations.upgrade(engine, [newer, install[first]()]) == [(first, "0001")]


def test_what_a_gone_plugin_has_left_holds_no_row_of_the_core(
    packages: Packages,
    engine: Engine,
    clock: StoppedClock,
    client: TestApp,
    sign_in: Callable[..., SignedIn],
    make_variant: Callable[..., UUID],
) -> None:
    basket = """
        op.create_table(
            "loyalty_basket",
            sa.Column("cart_id", sa.Uuid(), sa.ForeignKey("cart.id", ondelete="CASCADE"), primary_key=True),
        )
    """
    migrations.upgrade(engine, [packages.loyalty(_0002=basket), packages.giftcards()])
    guest = client.post_json("/api/v1/cart/lines", {"variant_id": str(make_variant()), "quantity": 1}).json["id"]
    execute(engine, "INSERT INTO loyalty_basket VALUES (:cart_id)", cart_id=guest)
    user_id = sign_in().user_id
    execute(engine, "INSERT INTO giftcards_card VALUES ('A', 'new', :user_id)", user_id=user_id)

    packages.uninstall_all()
    later = clock.now() + timedelta(days=1_000)
    assert expire_carts(engine, now=later) == 1
    assert forget_closed_carts(engine, now=later + timedelta(days=1_000), days=90) == 1
    execute(engine, "DELETE FROM users WHERE id = :user_id", user_id=user_id)

    assert sizes(engine, "loyalty") == ["loyalty_basket (0 rows)", "loyalty_entry (0 rows)"]
    assert sizes(engine, "giftcards") == ["giftcards_card (1 rows)"]


def test_only_what_a_plugin_can_have_left_is_purged(engine: Engine) -> None:
    for name in ("core", "orders", "order", "stock", "commerce", "alembic"):
        with pytest.raises(MigrationsRefused, match=f"{name} is a name of the core's"):
            migrations.purge(engine, name)
    for name in ("o%", "Loyalty", "a_b", 'x"; DROP TABLE orders; --', ""):
        with pytest.raises(MigrationsRefused, match="is no name of a plugin"):
            migrations.purge(engine, name)
    with pytest.raises(MigrationsRefused, match="nothing of loyalty"):
        migrations.purge(engine, "loyalty")


def test_what_others_refer_to_is_not_purged(packages: Packages, engine: Engine) -> None:
    badge = """
        op.create_table(
            "badges_badge",
            sa.Column("id", sa.Uuid(), sa.ForeignKey("loyalty_entry.order_id", ondelete="CASCADE"), primary_key=True),
        )
    """
    loyalty = packages.loyalty()
    badges = packages.install("badges", "", {"0001": badge}, requires={"loyalty": "0001"})
    assert migrations.upgrade(engine, [badges, loyalty]) == [("loyalty", "0001"), ("badges", "0001")]

    for owner in (loyalty, None):
        with pytest.raises(MigrationsRefused, match="badges_badge to loyalty_entry"):
            migrations.purge(engine, "loyalty", owner)
    execute(engine, "CREATE VIEW best AS SELECT * FROM badges_badge")
    with pytest.raises(MigrationsRefused, match="view best depends on table badges_badge"):
        migrations.purge(engine, "badges")

    execute(engine, "DROP VIEW best")
    migrations.purge(engine, "badges")
    migrations.purge(engine, "loyalty")
    assert list(standing(engine)) == ["core"]


def test_a_way_back_that_fails_is_told_and_the_plugin_can_be_purged_by_name(packages: Packages, engine: Engine) -> None:
    broken = packages.install("loyalty", "", {"0001": 'op.execute("CREATE TABLE loyalty_entry ()")'}, {"0001": "1 / 0"})
    migrations.upgrade(engine, [broken])
    with pytest.raises(migrations.MigrationFailed, match=r"ZeroDivisionError.*--by-name"):
        migrations.purge(engine, "loyalty", broken)
    assert standing(engine)["loyalty"] == ("ORPHAN", "0001")
    migrations.purge(engine, "loyalty")
    assert left_of(engine, "loyalty") == []
