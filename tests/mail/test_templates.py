"""What mails say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from commerce_core.mail import templates
from commerce_core.mail.templates import Templates
from commerce_core.settings import MailSettings

BUILT_IN = Path(templates.__file__).parent / "templates"
# Those about orders: tests/orders/test_mails.py; and about alerts: tests/monitor/test_telling.py.
NAMES = sorted(path.stem for path in BUILT_IN.glob("*.txt") if not path.stem.startswith(("order-", "alert")))
CODE: dict[str, Any] = {"token": "a-code", "hours": 24, "minutes": 60}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("url", [None, "https://shop.example/#a-code"])
def test_every_mail_is_written_as_text_and_html(name: str, url: str | None) -> None:
    letter = Templates(MailSettings(shop_name="Fish & Chips")).write(name, {**CODE, "url": url}, "en_US")
    assert "Fish & Chips" in letter.subject
    assert letter.text.endswith("\nFish & Chips\n")
    assert letter.html is not None
    assert "Fish &amp; Chips" in letter.html
    with_code = name in ("registration", "password-reset", "invitation", "email-change")
    assert ((url or "    a-code\n") in letter.text) == with_code
    assert ((url or ">a-code<") in letter.html) == with_code
    assert "${" not in letter.text + letter.html


def test_html_is_escaped_and_text_is_not(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("Subject\n\n${name}")
    (tmp_path / "x.html").write_text("<b>${name}</b>")
    letter = Templates(MailSettings(templates=str(tmp_path))).write("x", {"name": "<script> & co"}, "en")
    assert (letter.text, letter.html) == ("<script> & co\n", "<b>&lt;script&gt; &amp; co</b>")


def test_a_merchants_templates_come_first_also_by_language(tmp_path: Path) -> None:
    (tmp_path / "password-changed.txt").write_text("Ours\n\nText")
    (tmp_path / "password-changed.de.txt").write_text("Deutsch\n\nText")
    (tmp_path / "password-changed.pt_BR.txt").write_text("Brasil\n\nText")
    write = Templates(MailSettings(templates=str(tmp_path))).write
    subjects = [write("password-changed", {}, locale).subject for locale in ("en_US", "de_AT", "pt_BR", "pt", "../x")]
    assert subjects == ["Ours", "Deutsch", "Brasil", "Ours", "Ours"]
    assert "Somebody" in write("registration-known", {}, "de").text


def test_a_mail_says_which_language_it_is_in(tmp_path: Path) -> None:
    (tmp_path / "password-changed.pt_BR.html").write_text("<%inherit file='layout.html'/>Texto")
    write = Templates(MailSettings(templates=str(tmp_path))).write
    said = [(write("password-changed", {}, locale).html or "")[:40].split("\n")[1] for locale in ("pt_BR", "de_DE")]
    assert said == ['<html lang="pt-BR">', '<html lang="en">']
