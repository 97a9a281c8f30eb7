"""Pictures for demo products: drawn from the slug, so that no file and no other host is needed."""

from __future__ import annotations

import tomllib
import zlib
from importlib import resources
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
{drawing}
</svg>
"""
_SHAPE = """\
<path transform="translate(144 144) scale(13)" d="{shape}" fill="#fff" fill-opacity=".28" stroke="#fff" \
stroke-width="1.1" stroke-linecap="round" stroke-linejoin="round"/>"""
_INITIALS = """\
<text x="300" y="345" text-anchor="middle" font-family="system-ui, sans-serif" font-size="150" font-weight="700" \
fill="#fff">{initials}</text>"""
# By the word of a slug that says what it is: of several the last.
_SHAPES: dict[str, str] = tomllib.loads(
    resources.files(__package__).joinpath("shapes.toml").read_text(encoding="utf-8")
)


def demo_image(slug: str, name: str) -> dict[str, str]:
    """What a product's `images` has for its picture."""
    return {"url": f"{ADDRESS}{slug}.svg", "alt": name}


def draw(slug: str) -> str:
    """An SVG of what `slug` names, or else with its initials, on a ground of its own colour."""
    dice = zlib.crc32(slug.encode())
    words = [word for word in slug.split("-") if word] or ["?"]
    shape = next((_SHAPES[word] for word in reversed(words) if word in _SHAPES), None)
    initials = escape("".join(word[0] for word in words[:2]).upper())
    return _SVG.format(
        name=escape(" ".join(words), {'"': "&quot;"}),
        drawing=_SHAPE.format(shape=shape) if shape else _INITIALS.format(initials=initials),
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
