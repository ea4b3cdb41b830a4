"""The plain text of a mail that is written as HTML, for readers that show no HTML."""

import re
from html.parser import HTMLParser

# What is in them is not shown.
_UNSEEN = frozenset(("head", "script", "style", "template", "title"))
_BLOCKS = frozenset(
    (
        *("address", "article", "aside", "blockquote", "body", "center", "dd", "div", "dl", "dt", "figure", "footer"),
        *("form", "header", "hr", "main", "nav", "ol", "p", "pre", "section", "table", "ul"),
        *("h1", "h2", "h3", "h4", "h5", "h6"),
    )
)
_PARAGRAPHS = frozenset(("p", "ul", "ol", "table", "blockquote", "h1", "h2", "h3", "h4", "h5", "h6"))
_CELLS = frozenset(("td", "th"))
_STARTS = {"br": "\n", "li": "\n- ", "tr": "\n"}
_SHOWN_ADDRESSES = ("http://", "https://", "mailto:", "tel:")


def plain_text_of(html: str) -> str:
    """The text in lines, with the addresses of links in parentheses behind their words. Images are what they show."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    lines = [re.sub(r"[ \t\r\f\v\xa0]+", " ", line).strip() for line in "".join(reader.parts).split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


class _Reader(HTMLParser):
    """Collects what is shown."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._unseen = 0
        # Where the words of the link begin that is open, and its address.
        self._link: tuple[int, str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        if tag in _UNSEEN:
            self._unseen += 1
        elif tag == "img":
            self._add(named.get("alt", ""))
        elif tag in _STARTS:
            self._add(_STARTS[tag])
        elif tag == "a":
            self._link = (len(self.parts), named.get("href", ""))
        elif tag in _BLOCKS:
            self._add("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in _UNSEEN:
            self._unseen = max(0, self._unseen - 1)
        elif tag == "a":
            self._end_link()
        elif tag in _CELLS:
            self._add(" ")
        elif tag in _BLOCKS:
            self._add("\n\n" if tag in _PARAGRAPHS else "\n")

    def handle_data(self, data: str) -> None:
        # Lines of the source are no lines of the text.
        self._add(data.replace("\n", " "))

    def _add(self, text: str) -> None:
        if not self._unseen:
            self.parts.append(text)

    def _end_link(self) -> None:
        if self._link is None:
            return
        start, address = self._link
        self._link = None
        words = " ".join("".join(self.parts[start:]).split())
        bare = address.removeprefix("mailto:").removeprefix("tel:")
        if address.startswith(_SHOWN_ADDRESSES) and words not in (address, bare):
            self._add(f" ({bare})" if words else bare)
