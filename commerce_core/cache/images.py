"""Where an image is fetched from: the shop itself, a CDN in front of it, or a CDN that makes it fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from commerce_core.settings import CdnSettings

Format = Literal["auto", "avif", "webp", "jpeg", "png"]
FORMATS = ("auto", "avif", "webp", "jpeg", "png")
# A CDN charges by the variant, so sizes come in steps.
LARGEST = 4_000
STEP = 50


class ImageAddresses:
    """`registry.image_addresses`: the addresses of a product's images."""

    def __init__(self, settings: CdnSettings) -> None:
        self._base = (settings.base_url or "").rstrip("/")
        self._template = settings.image_template
        self._widths = settings.image_widths

    def listed(self, images: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
        """Images of the catalogue as they are answered: `url`, and where they are made to fit, `sizes` by width."""
        if not self._base:
            return images
        shown = []
        for image in images:
            image = {**image, "url": self.of(image["url"])}
            if self._template is not None and image["url"].startswith(f"{self._base}/"):
                path = image["url"].removeprefix(self._base)
                image["sizes"] = {str(width): self.of(path, width=width) for width in self._widths}
            shown.append(image)
        return shown

    def of(
        self,
        url: str,
        *,
        width: int | None = None,
        height: int | None = None,
        format: Format = "auto",
        quality: int = 85,
    ) -> str:
        """The address of an image of the catalogue, at most so many pixels wide and high.

        Sizes are rounded up to the next 50, at most 4,000; 0 stands for one that is not given. Without any size, or
        without a template, it is not transformed. An image on another host is left where it is. Raises ValueError.
        """
        parts = urlsplit(url)
        if not self._base or parts.netloc or parts.scheme:
            return url
        path = quote(url.lstrip("/"), safe="/%?=&,:@+~!$'()*;-._")
        if self._template is None or (width is None and height is None):
            return f"{self._base}/{path}"
        if format not in FORMATS:
            raise ValueError(f"format is one of {', '.join(FORMATS)}")
        if not 1 <= quality <= 100:
            raise ValueError("quality is 1 to 100")
        return self._template.format(
            base=self._base, path=path, width=_step(width), height=_step(height), format=format, quality=quality
        )


def _step(pixels: int | None) -> int:
    if pixels is None:
        return 0
    if pixels < 1:
        raise ValueError("sizes are in pixels, from 1")
    return min(-(-pixels // STEP) * STEP, LARGEST)
