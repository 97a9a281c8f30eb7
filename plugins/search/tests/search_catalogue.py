"""An invented catalogue of many different names, and people who mistype them."""

from __future__ import annotations

import random
import string
from collections.abc import Sequence

from commerce_search.contract import make_document
from commerce_search.interface import Document


def _words(text: str) -> list[str]:
    return text.split()


MAKERS = _words("""
Aldermoor Brightwell Calloway Dunmore Eastvale Fairhurst Glenrock Hartwood Ironbridge Juniper Kestrelby
Longmere Marlowe Northgate Oakhurst Pemberton Quillfeather Ravenscroft Silverton Thornfield Underhill
Vandermeer Whitcombe Yellowstone Zephyrine
""")
KINDS = _words("""
jacket sweater cardigan trousers sneaker sandal headphones speaker keyboard monitor skillet saucepan casserole
grinder kettle toaster blender lantern armchair bookshelf mattress pillow blanket curtain backpack suitcase
wallet umbrella thermos hammock sleeping-bag compass binoculars telescope microscope guitar violin trumpet
accordion drumstick wheelbarrow sprinkler hedge-trimmer chainsaw screwdriver wrench hammer chisel paintbrush
stapler notebook fountain-pen calculator projector microphone
""")
QUALITIES = _words("""
waterproof lightweight insulated foldable wireless rechargeable handmade vintage classic compact portable
adjustable ergonomic breathable quilted embroidered polished brushed enamelled tempered laminated reinforced
stackable extendable magnetic
""")
MATERIALS = _words("""
cotton merino leather canvas linen bamboo aluminium titanium stainless porcelain ceramic walnut mahogany
cherrywood recycled neoprene corduroy velvet cashmere flannel
""")


def invented_names(count: int, seed: int) -> list[str]:
    """Names that are all different."""
    chance = random.Random(seed)
    names: set[str] = set()
    while len(names) < count:
        parts = [chance.choice(MAKERS), chance.choice(QUALITIES), chance.choice(MATERIALS), chance.choice(KINDS)]
        names.add(" ".join(part.title() for part in parts if part is not parts[2] or chance.random() < 0.6))
    return sorted(names)


def invented_documents(names: Sequence[str]) -> list[Document]:
    return [
        make_document(
            name, brand_slug=name.split()[0].lower(), categories=(name.split()[-1].lower(),), popularity=number % 50
        )
        for number, name in enumerate(names)
    ]


def mistyped(name: str, chance: random.Random) -> str:
    """The name with one edit in one of its words of five letters or more."""
    words = name.split()
    place = chance.choice([place for place, word in enumerate(words) if len(word) >= 5])
    word = words[place]
    while words[place] == word:
        words[place] = edited(word, chance)
    return " ".join(words)


def edited(word: str, chance: random.Random) -> str:
    """With a letter too many, too few or wrong, or two that have changed places."""
    at = chance.randrange(len(word))
    letter = chance.choice(string.ascii_lowercase)
    match chance.randrange(4):
        case 0:
            return word[:at] + letter + word[at:]
        case 1:
            return word[:at] + word[at + 1 :]
        case 2:
            return word[:at] + letter + word[at + 1 :]
        case _:
            at = min(at, len(word) - 2)
            return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
