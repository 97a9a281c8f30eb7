"""`commerce mail`: what the shop has written, for developers."""

from __future__ import annotations

import click

from commerce_core.cli.shop import config_argument, open_shop


@click.group()
def mail() -> None:
    """Look into the outbox."""


@mail.command()
@click.option("--to", help="Only mail to this address.")
@config_argument
def last(config: str, to: str | None) -> None:
    """Print the last mail, sent or not. Only with the console for a mail server: mails hold one-time codes."""
    from commerce_core.database import transaction
    from commerce_core.mail.service import last_mail
    from commerce_core.mail.templates import Templates

    with open_shop(config) as shop:
        if shop.settings.mail.transport == "smtp":
            raise click.ClickException("This shop sends its mail by SMTP; what it says is for its readers alone.")
        with transaction(shop.engine) as session:
            found = last_mail(session, to=to)
            if found is None:
                raise click.ClickException("There is no mail yet." if to is None else f"There is no mail to {to} yet.")
            templates = Templates(shop.settings.mail, shop.registry.plugins.mail_templates)
            letter = templates.write(found.template, found.context or {}, found.locale)
            click.echo(f"To: {found.recipient}\nSubject: {letter.subject}\n\n{letter.text}", nl=False)
