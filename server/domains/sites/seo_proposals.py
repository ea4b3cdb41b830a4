"""Proposals of search engine optimisation, made by rules from what pages say."""

import re
from collections.abc import Iterable, Iterator
from html import unescape

from server.json_values import JsonValue

SHORTEST_TEXT = 20
"""Characters of a text that says something: shorter ones are labels of buttons, and names of classes and files."""
_TAG = re.compile(r"<[^>]*>")
_ADDRESS = re.compile(r"^\S+$")
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"


def better_title(title: str, site_name: str, longest: int) -> str:
    """A title with the name of the site behind it, if both fit; cut between words if it is too long."""
    title = " ".join(title.split())
    if len(title) > longest:
        return cut(title, longest)
    named = f"{title} | {site_name}"
    return named if title and site_name and site_name not in title and len(named) <= longest else title


def text_in(contents: Iterable[JsonValue], longest: int) -> str:
    """The first texts that say something, in one line: as many as fit, the last one cut between words."""
    found = ""
    for text in _texts(list(contents)):
        found = f"{found} {text}".strip()
        if len(found) >= longest:
            break
    return cut(found, longest)


def cut(text: str, longest: int) -> str:
    """A text cut between words, or within the first one if that is too long."""
    if len(text) <= longest:
        return text
    kept = text[: longest - 1]
    words, _, _ = kept.rpartition(" ")
    return f"{(words or kept).rstrip(' ,;:.')}{ELLIPSIS}"


def _texts(value: JsonValue) -> Iterator[str]:
    """The texts in JSON that people read, without tags."""
    if isinstance(value, str):
        text = " ".join(unescape(_TAG.sub(" ", value)).split())
        if len(text) >= SHORTEST_TEXT and not _ADDRESS.match(text):
            yield text
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
