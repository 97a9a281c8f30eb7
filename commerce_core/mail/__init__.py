"""The mail room: an outbox in the database, templates, and the transports that carry what is in it.

`queue_mail` writes a row in the caller's transaction, so that no mail speaks of something that did not happen. A job
delivers; nobody talks to a mail server within a request.
"""

from __future__ import annotations

from pyramid.config import Configurator


def includeme(config: Configurator) -> None:
    config.include(".jobs")
