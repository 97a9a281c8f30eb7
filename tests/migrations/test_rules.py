"""What a plugin's models may be: called after the plugin, and never in the way of the core's rows."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, Enum, ForeignKey, MetaData, Sequence, Table, Text, Uuid

from commerce_core.migrations import forbidden_foreign_keys, foreign_tables, foreign_types


def key_to(target: str, nullable: bool = True, **options: str) -> MetaData:
    metadata = MetaData()
    Table("loyalty_entry", metadata, Column("x", Uuid, ForeignKey(target, **options), nullable=nullable))
    return metadata


def test_a_plugins_tables_are_called_after_it() -> None:
    before = ["orders", "points"]
    assert foreign_tables(before, [*before, "loyalty_entry"], "loyalty") == []
    [problem] = foreign_tables(before, [*before, "loyalty_entry", "loyaltyx"], "loyalty")
    assert problem.startswith("the table loyaltyx should be called loyalty_loyaltyx")


def test_a_plugins_types_and_sequences_are_called_after_it() -> None:
    metadata = MetaData()
    kinds = [Enum("a", name="loyalty_kind"), Enum("a", name="kind"), Enum("a", name="text_only", native_enum=False)]
    numbers = [Sequence("loyalty_number"), Sequence("number")]
    columns = [Column(f"k{position}", kind) for position, kind in enumerate(kinds)]
    columns += [Column(f"n{position}", Text, number) for position, number in enumerate(numbers)]
    Table("loyalty_entry", metadata, *columns)
    assert [problem.partition(" should")[0] for problem in foreign_types(metadata, "loyalty")] == [
        "the sequence number",
        "the type kind",
    ]


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        (key_to("orders.id", ondelete="CASCADE"), None),
        (key_to("users.id", ondelete="set null"), None),
        (key_to("loyalty_level.id"), None),
        (key_to("pricing_rule.id", ondelete="CASCADE"), None),
        (key_to("orders.id"), "needs ondelete"),
        (key_to("orders.id", ondelete="RESTRICT"), "needs ondelete"),
        (key_to("pricing_rule.id"), "needs ondelete"),
        (key_to("users.id", ondelete="SET NULL", nullable=False), "the column is not nullable"),
        (key_to("orders.number", ondelete="CASCADE"), "should lead to the primary key"),
        (key_to("stock_level.variant_id", ondelete="CASCADE"), "refer to product, variant"),
        (key_to("search_entry.id", ondelete="CASCADE"), "loyalty does not require search"),
    ],
)
def test_foreign_keys_lead_to_anchors_and_let_the_core_delete(metadata: MetaData, problem: str | None) -> None:
    found = forbidden_foreign_keys(metadata, "loyalty", requires=("pricing",))
    if problem is None:
        assert found == []
    else:
        assert len(found) == 1
        assert found[0].startswith("the foreign key loyalty_entry.x to ")
        assert problem in found[0]
