"""Rich text: HTML that people write, cleaned of everything that runs, loads or hides something.

Cleaned by ammonia, which parses as browsers do (the HTML standard): what is not allowed is dropped, not escaped.
"""

import re
from html import unescape

import nh3

_BLOCK_END = re.compile(r"(?i)</(?:p|div|li|h[1-6]|blockquote|td|th|tr|pre)>|<br\s*/?>")
SCHEMES = {"http", "https", "mailto", "tel"}
# Elements of text. None of them is a form, a frame or of another namespace.
TAGS = nh3.ALLOWED_TAGS - {"map", "area", "center", "tt", "acronym", "header", "footer", "nav"}
ATTRIBUTES = {**nh3.ALLOWED_ATTRIBUTES, "a": {"href", "hreflang", "title"}, "img": {"src", "alt", "width", "height"}}
BRIEF_TAGS = {"a", "b", "blockquote", "br", "code", "em", "i", "li", "ol", "p", "pre", "s", "strong", "u", "ul"}
_REL = "noopener noreferrer"
_cleaner = nh3.Cleaner(tags=TAGS, attributes=ATTRIBUTES, url_schemes=SCHEMES, link_rel=_REL)
# Links in comments pass on no ranking (https://developers.google.com/search/docs/crawling-indexing/qualify-outbound-links).
_brief_cleaner = nh3.Cleaner(
    tags=BRIEF_TAGS,
    attributes={"a": {"href"}, "*": set()},
    url_schemes={"http", "https"},
    link_rel=f"{_REL} nofollow ugc",
)


def clean_html(html: str) -> str:
    """HTML with harmless elements and links alone. What is clean stays as it is."""
    return _cleaner.clean(html)


def clean_brief_html(html: str) -> str:
    """The same for what strangers write below something, such as comments: no images, headings and tables."""
    return _brief_cleaner.clean(html)


def text_of(html: str) -> str:
    """The text in HTML, without elements, and with a space between blocks."""
    return unescape(nh3.clean(_BLOCK_END.sub(" ", html), tags=set()))
