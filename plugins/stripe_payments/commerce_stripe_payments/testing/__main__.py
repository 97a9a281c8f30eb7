"""`python -m commerce_stripe_payments.testing`: a fake Stripe by itself, until Ctrl-C."""

from __future__ import annotations

import signal
import threading

import click

from commerce_stripe_payments.testing.fake import FakeStripe


@click.command()
@click.option("--port", default=8420, show_default=True, help="0 takes a free one.")
@click.option("--forward-to", metavar="URL", help="Where webhooks go.")
@click.option("--secret", default="whsec_fake", show_default=True, help="What they are signed with.")
def main(port: int, forward_to: str | None, secret: str) -> None:
    """Run a fake Stripe on 127.0.0.1."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with FakeStripe(port=port) as fake:
        if forward_to:
            fake.send_to(forward_to, secret)
        click.echo(
            f"A fake Stripe listens at {fake.url}. No money moves. Keys: {fake.secret_key}, {fake.publishable_key}"
        )
        ended.wait()


if __name__ == "__main__":
    main()
