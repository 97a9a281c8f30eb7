"""Money for people."""

from __future__ import annotations

import pytest

from commerce_core.money import Money, formatted, negotiate_locale


@pytest.mark.parametrize(
    ("amount", "currency", "locale", "text"),
    [
        (2_999, "USD", "en_US", "$29.99"),
        (5, "USD", "en_US", "$0.05"),
        (-150, "USD", "en_US", "-$1.50"),
        (2_999, "JPY", "en_US", "¥2,999"),
        (1_234_567, "KWD", "de", "1.234,567\xa0KWD"),
        (99_999_999_999_999_999, "EUR", "en_US", "€999,999,999,999,999.99"),
    ],
)
def test_minor_units_are_written_exactly(amount: int, currency: str, locale: str, text: str) -> None:
    assert formatted(amount, currency, locale) == text
    assert Money.of(amount, currency, locale).formatted == text


@pytest.mark.parametrize(
    ("header", "locale"),
    [
        ("", "en_US"),
        ("de-DE", "de_DE"),
        ("fr;q=0.5, de;q=0.8", "de"),
        ("tlh, *;q=0.1", "en_US"),
        ("de;q=0, fr;q=0.1", "fr"),
        ("de;q=lots, \x00,;;;", "en_US"),
        ("x" * 100_000, "en_US"),
    ],
)
def test_the_clients_language_is_found_or_english(header: str, locale: str) -> None:
    assert negotiate_locale(header) == locale
