"""The types of sections that every site has. A tenant's own type of the same kind takes the place of one."""

from collections.abc import Mapping
from typing import NamedTuple

from server.domains.sites.content_schemas import HTML, ContentSchema
from server.json_values import JsonObject

TEXT: JsonObject = {"type": "string", "maxLength": 2000}
LONG_TEXT: JsonObject = {"type": "string", "maxLength": 10_000}
RICH_TEXT: JsonObject = {"type": "string", "maxLength": 50_000, "contentMediaType": HTML}
ADDRESS: JsonObject = {"type": "string", "maxLength": 2000, "format": "uri-reference"}


def _object(**properties: JsonObject) -> JsonObject:
    return {"type": "object", "properties": properties}


def _list(most: int, **properties: JsonObject) -> JsonObject:
    return {"type": "array", "maxItems": most, "items": _object(**properties)}


IMAGE = _object(url=ADDRESS, alt=TEXT)
BUTTON = _object(label=TEXT, url=ADDRESS)


class BuiltInType(NamedTuple):
    """A type of sections that every site has."""

    kind: str
    display_name: str
    description: str
    schema: JsonObject


_TYPES = (
    BuiltInType(
        "hero",
        "Hero",
        "The first thing that a visitor sees: a heading, a few words, an image and a button.",
        _object(heading=TEXT, text=LONG_TEXT, image=IMAGE, button=BUTTON),
    ),
    BuiltInType("text", "Text", "A heading and rich text.", _object(heading=TEXT, text=LONG_TEXT, html=RICH_TEXT)),
    BuiltInType("image", "Image", "One image with a caption.", _object(image=IMAGE, caption=TEXT)),
    BuiltInType(
        "gallery",
        "Gallery",
        "Images with captions.",
        _object(heading=TEXT, images=_list(100, image=IMAGE, caption=TEXT)),
    ),
    BuiltInType("video", "Video", "A video file.", _object(heading=TEXT, url=ADDRESS, poster=ADDRESS, caption=TEXT)),
    BuiltInType(
        "call-to-action",
        "Call to action",
        "A few words and a button.",
        _object(heading=TEXT, text=LONG_TEXT, button=BUTTON),
    ),
    BuiltInType(
        "features",
        "Features",
        "What is offered, each with a few words.",
        _object(heading=TEXT, items=_list(50, title=TEXT, text=LONG_TEXT, image=IMAGE, url=ADDRESS)),
    ),
    BuiltInType(
        "price-list",
        "Price list",
        "What things cost. A price is a text, such as `from 49 €`.",
        _object(heading=TEXT, items=_list(200, title=TEXT, text=LONG_TEXT, price=TEXT), note=TEXT),
    ),
    BuiltInType(
        "questions",
        "Questions",
        "Questions and their answers.",
        _object(heading=TEXT, items=_list(100, question=TEXT, answer=RICH_TEXT)),
    ),
    BuiltInType(
        "testimonials",
        "Testimonials",
        "What customers say.",
        _object(heading=TEXT, items=_list(50, quote=LONG_TEXT, name=TEXT, image=IMAGE)),
    ),
    BuiltInType(
        "team",
        "Team",
        "Who works here.",
        _object(heading=TEXT, items=_list(100, name=TEXT, role=TEXT, text=LONG_TEXT, image=IMAGE)),
    ),
    BuiltInType(
        "opening-hours",
        "Opening hours",
        "When it is open. Days and hours are texts, such as `Monday` and `8:00 to 17:00`.",
        _object(heading=TEXT, items=_list(30, day=TEXT, hours=TEXT), note=TEXT),
    ),
    BuiltInType(
        "contact",
        "Contact",
        "How to reach the owner of the site.",
        _object(
            heading=TEXT,
            address=LONG_TEXT,
            phone=TEXT,
            email={"type": "string", "maxLength": 254, "format": "email"},
            map_url=ADDRESS,
        ),
    ),
    BuiltInType("divider", "Divider", "A line between sections.", _object()),
)
BUILT_IN: Mapping[str, BuiltInType] = {each.kind: each for each in _TYPES}
"""By kind."""
SCHEMAS: Mapping[str, ContentSchema] = {each.kind: ContentSchema(each.schema) for each in _TYPES}
"""By kind. Compiling all of them takes 0.5 ms."""
