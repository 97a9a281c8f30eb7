"""Bodies that do not belong in memory: received into a temporary file, piece by piece, and only once who sends may.

A room registers such a request in `registry.upload_requests`, and declares its endpoint with `upload`. Everything else
is read before it is looked at (see requests.py), which is right for a megabyte, and wrong for a quarter of a gigabyte
from somebody whose token has not been checked yet.
"""

from __future__ import annotations

import hashlib
import tempfile
import zlib
from collections.abc import Iterator
from typing import IO, Any

from commerce_core.api.problems import BodyTooLarge, MalformedRequest, UnsupportedMediaType

PIECE = 256 * 1024


def receive_upload(request: Any, media_type: str, limit: int) -> None:
    """Put the body, unpacked if it is gzip, into a file (`request.upload`), which is gone when the request is done.

    `limit` is in bytes, for what is sent and for what it unpacks to. Raises BodyTooLarge, MalformedRequest, and
    UnsupportedMediaType. The answer to a body that was not read to its end closes the connection.
    """
    environ = request.environ
    given = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    encoding = environ.get("HTTP_CONTENT_ENCODING", "").strip().lower()
    if given != media_type:
        raise UnsupportedMediaType(f"Send {media_type}, not {given or 'a body without a type'}.")
    if encoding not in ("", "identity", "gzip"):
        raise UnsupportedMediaType(f"Send it as it is or as gzip, not as {encoding[:50]}.")
    file = tempfile.TemporaryFile(prefix="commerce-upload-")  # noqa: SIM115 (closed with the request)
    request.add_finished_callback(lambda _: file.close())
    digest = hashlib.sha256()
    pieces = _limited(_pieces(environ, limit), limit)
    for piece in _limited(unpacked(pieces), limit) if encoding == "gzip" else pieces:
        digest.update(piece)
        file.write(piece)
    file.seek(0)
    # What stands for the body where requests are compared (see idempotency.py).
    environ["commerce.body"] = digest.digest()
    environ["commerce.upload"] = file


def upload(request: Any) -> IO[bytes]:
    """The body of an endpoint with `upload`, from its beginning."""
    file: IO[bytes] = request.environ["commerce.upload"]
    return file


def unpacked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """What gzip has packed, without ever holding more than a piece of it. Raises MalformedRequest."""
    gzip = zlib.decompressobj(wbits=31)
    for packed in pieces:
        while packed:
            if gzip.eof:  # another member follows
                gzip = zlib.decompressobj(wbits=31)
            try:
                yield gzip.decompress(packed, PIECE)
            except zlib.error:
                raise MalformedRequest("The body is not gzip, or damaged.") from None
            packed = gzip.unused_data if gzip.eof else gzip.unconsumed_tail
    while not gzip.eof:
        rest = gzip.decompress(b"", PIECE)
        if not rest:
            raise MalformedRequest("The gzip ended before it was complete.")
        yield rest


def _pieces(environ: dict[str, Any], limit: int) -> Iterator[bytes]:
    given = environ.get("CONTENT_LENGTH") or ("0" if "HTTP_TRANSFER_ENCODING" not in environ else "")
    if given and not (given.isascii() and given.isdigit()):
        raise MalformedRequest("Content-Length is not a number.")
    left = int(given) if given else None
    if left is not None and left > limit:
        raise _too_large(limit)
    while left is None or left > 0:
        try:
            piece: bytes = environ["wsgi.input"].read(PIECE if left is None else min(PIECE, left))
        except OSError:
            raise MalformedRequest("The body ended before it was complete.") from None
        if not piece:
            if left:
                raise MalformedRequest("The body ended before it was complete.")
            return
        if left is not None:
            left -= len(piece)
        yield piece


def _limited(pieces: Iterator[bytes], limit: int) -> Iterator[bytes]:
    received = 0
    for piece in pieces:
        received += len(piece)
        if received > limit:
            raise _too_large(limit)
        yield piece


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"At most {limit} bytes, please.", headers={"Connection": "close"})
