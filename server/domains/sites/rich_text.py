"""Rich text: HTML that people write, cleaned of everything that runs, loads or hides something.

Cleaned by ammonia, which parses as browsers do (the HTML standard): what is not allowed is dropped, not escaped.
"""

import nh3

SCHEMES = {"http", "https", "mailto", "tel"}
# Elements of text. None of them is a form, a frame or of another namespace.
TAGS = nh3.ALLOWED_TAGS - {"map", "area", "center", "tt", "acronym", "header", "footer", "nav"}
ATTRIBUTES = {**nh3.ALLOWED_ATTRIBUTES, "a": {"href", "hreflang", "title"}, "img": {"src", "alt", "width", "height"}}
_cleaner = nh3.Cleaner(tags=TAGS, attributes=ATTRIBUTES, url_schemes=SCHEMES, link_rel="noopener noreferrer")


def clean_html(html: str) -> str:
    """HTML with harmless elements and links alone. What is clean stays as it is."""
    return _cleaner.clean(html)
