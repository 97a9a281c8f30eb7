"""Pictures for demo products: drawn from the slug, so that no file and no other host is needed."""

from __future__ import annotations

import zlib
from typing import Any
from xml.sax.saxutils import escape

from pyramid.config import Configurator
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED

ADDRESS = "/static/demo/"
_SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 600 600" role="img" aria-label="{name}">
<defs><linearGradient id="g" x1="0" y1="0" x2="1" y2="1">
<stop offset="0" stop-color="hsl({hue} 55% 82%)"/><stop offset="1" stop-color="hsl({other_hue} 45% 58%)"/>
</linearGradient></defs>
<rect width="600" height="600" fill="url(#g)"/>
<circle cx="{x}" cy="{y}" r="210" fill="#fff" fill-opacity=".22"/>
<text x="300" y="345" text-anchor="middle" font-family="system-ui, sans-serif" font-size="150" font-weight="700" \
fill="#fff">{initials}</text>
</svg>
"""


def demo_image(slug: str, name: str) -> dict[str, str]:
    """What a product's `images` has for its picture."""
    return {"url": f"{ADDRESS}{slug}.svg", "alt": name}


def draw(slug: str) -> str:
    """An SVG with the initials of `slug` on a ground of its own colour."""
    dice = zlib.crc32(slug.encode())
    words = [word for word in slug.split("-") if word] or ["?"]
    return _SVG.format(
        name=escape(" ".join(words), {'"': "&quot;"}),
        initials=escape("".join(word[0] for word in words[:2]).upper()),
        hue=dice % 360,
        other_hue=(dice % 360 + 40) % 360,
        x=150 + dice // 360 % 300,
        y=150 + dice // 360 // 300 % 300,
    )


def show_image(request: Any) -> Response:
    """The picture of a demo product. Any slug has one."""
    response = Response(draw(request.matchdict["slug"][:200]), content_type="image/svg+xml", charset="UTF-8")
    response.headers["Cache-Control"] = "public, max-age=86400"
    return response


def includeme(config: Configurator) -> None:
    config.add_route("demo_image", ADDRESS + "{slug}.svg")
    config.add_view(show_image, route_name="demo_image", request_method="GET", permission=NO_PERMISSION_REQUIRED)
