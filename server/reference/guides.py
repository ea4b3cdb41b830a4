"""The guides: Markdown of docs/guides, which is a folder of this package too, as HTML."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token

FOLDER = "/docs/guides"
# In the order in which they are read.
NAMES = (
    *("getting-started", "authentication", "second-factors", "errors", "lists", "idempotency"),
    *("live-streams", "webhooks", "limits", "files", "feature-flags", "integrations", "email-templates", "websites"),
    *("dictionary", "stories", "notifications", "mail-and-push", "agents"),
)
_TITLE = re.compile(r"\A# ([^\n]+)\n+(.+?)\n\n", re.DOTALL)


@dataclass(frozen=True)
class Guide:
    """A guide, as it is written."""

    name: str
    text: str
    """Markdown: a title, a paragraph that says what it is about, and the rest."""

    @property
    def path(self) -> str:
        """Where it is served."""
        return f"{FOLDER}/{self.name}"

    @property
    def title(self) -> str:
        """Its title."""
        return self._beginning[1]

    @property
    def summary(self) -> str:
        """What it is about, in a line."""
        return " ".join(self._beginning[2].split())

    @property
    def _beginning(self) -> re.Match[str]:
        found = _TITLE.match(self.text)
        if found is None:
            raise ValueError(f"docs/guides/{self.name}.md does not begin with a title and a paragraph")
        return found

    def html(self) -> str:
        """Its content as HTML. What is HTML in the Markdown is shown, not obeyed."""
        reader = MarkdownIt("commonmark", {"html": False}).enable("table")
        tokens = reader.parse(self.text)
        _add_anchors(tokens)
        _lead_links(tokens)
        return str(reader.renderer.render(tokens, reader.options, {}))


def guides() -> list[Guide]:
    """The guides in their order. Raises FileNotFoundError if one is missing."""
    folder = files("server.reference") / "guides"
    return [Guide(name, (folder / f"{name}.md").read_text()) for name in NAMES]


def _add_anchors(tokens: Sequence[Token]) -> None:
    """Give headings an id, so that they can be linked to."""
    for token, content in pairwise(tokens):
        if token.type == "heading_open":
            token.attrSet("id", re.sub(r"[^a-z0-9]+", "-", content.content.lower()).strip("-"))


def _lead_links(tokens: Sequence[Token]) -> None:
    """Let links to other guides, which name their files, lead to where these are served."""
    for token in tokens:
        for child in token.children or ():
            target = child.attrGet("href") if child.type == "link_open" else None
            if isinstance(target, str) and not target.startswith(("/", "http")):
                child.attrSet("href", re.sub(r"^([a-z-]+)\.md", rf"{FOLDER}/\1", target))
