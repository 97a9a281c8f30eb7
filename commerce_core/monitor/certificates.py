"""How long the certificates of the shop's addresses are good for, as a client sees them."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime

TIMEOUT_SECONDS = 5.0


class CertificateRefused(Exception):
    """A client would not accept it: it has expired, is somebody else's, or nobody vouches for it."""


def expires_at(address: str, authority: str | None = None) -> datetime:
    """When the certificate at `host` or `host:port` (443) expires.

    `authority` is a file with certificates to trust, instead of the system's. Raises CertificateRefused, or OSError
    when nobody answers.
    """
    host, _, port = address.rpartition(":") if address.rsplit(":", 1)[-1].isdecimal() else (address, "", "443")
    context = ssl.create_default_context(cafile=authority)
    bare = host.strip("[]")
    try:
        with (
            socket.create_connection((bare, int(port)), TIMEOUT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=bare) as secured,
        ):
            certificate = secured.getpeercert()
    except ssl.SSLCertVerificationError as error:
        raise CertificateRefused(error.verify_message) from None
    assert certificate
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)
