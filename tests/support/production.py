"""The shop as production.ini describes it."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "production.ini"


def required(database_url: str) -> dict[str, str]:
    """The environment without which production.ini is not enough. The keys are of the right form, and nobody's."""
    return {
        "COMMERCE_SQLALCHEMY__URL": database_url,
        "COMMERCE_MAIL__HOST": "127.0.0.1",
        "COMMERCE_MAIL__SENDER": "shop@shop.test",
        "COMMERCE_STRIPE__SECRET_KEY": "sk_test_" + "4" * 24,
        "COMMERCE_STRIPE__PUBLISHABLE_KEY": "pk_test_" + "4" * 24,
        "COMMERCE_STRIPE__WEBHOOK_SECRETS": "whsec_" + "4" * 24,
        "COMMERCE_REALTIME__SECRET": "5b0c7a2f9d3e4c1a8b6d5e7f",
    }
