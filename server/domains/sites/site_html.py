"""The HTML of a published page: its sections, by the built-in types, in the look of its site.

It runs nothing and loads nothing but images, videos and fonts of the browser; the policy in CSP says so to browsers.
Rich text is cleaned again, and addresses are checked again: what is stored may be older than the rules.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple, cast

from jinja2 import ChainableUndefined, Environment, FileSystemLoader, Template
from markupsafe import Markup, escape

from server.domains.sites.built_in_sections import BUILT_IN
from server.domains.sites.content_schemas import is_address
from server.json_values import JsonObject, JsonValue
from server.kernel.rich_text import clean_html

HTML = Path(__file__).parent / "html"
STYLE = (HTML / "site.css").read_text()
CARDS = {1: "summary", 2: "summary_large_image"}
"""By the number of PageSeo.Card."""


class Look(NamedTuple):
    """What a site looks like, and what is the same on all of its pages."""

    site_name: str
    logo_url: str = ""
    favicon_url: str = ""
    primary_color: str = "#1f4e79"
    secondary_color: str = "#f2f4f7"
    accent_color: str = "#e07a1f"
    heading_font: str = "Inter"
    body_font: str = "Inter"
    locale: str = ""
    social_image_url: str = ""
    no_index: bool = False
    navigation: Sequence[JsonObject] = ()
    """Items with `title`, `url`, `open_in_new_tab` and `below`."""

    @property
    def style(self) -> str:
        """The style sheet of the site."""
        fonts = {"heading": self.heading_font, "body": self.body_font}
        names = {name: "".join(each for each in font if each.isalnum() or each in " -") for name, font in fonts.items()}
        colors = {"primary": self.primary_color, "secondary": self.secondary_color, "accent": self.accent_color}
        variables = [*(f"--{name}:{color}" for name, color in colors.items())]
        variables += [f'--{name}:"{font}"' for name, font in names.items()]
        return f":root{{{';'.join(variables)}}}\n{STYLE}"

    @property
    def policy(self) -> str:
        """The Content-Security-Policy of its pages."""
        digest = base64.b64encode(hashlib.sha256(self.style.encode()).digest()).decode()
        return (
            f"default-src 'none'; img-src https: http:; media-src https: http:; style-src 'sha256-{digest}'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )


def page_html(
    page: Mapping[str, JsonValue],
    look: Look,
    *,
    canonical: str = "",
    alternates: Sequence[tuple[str, str]] = (),
) -> str:
    """A page of a site. `page` is a draft or a version, with `locale`; `alternates` are its translations."""
    seo = cast("JsonObject", page.get("seo") or {})
    robots = [
        word
        for word, applies in (("noindex", look.no_index or seo.get("no_index")), ("nofollow", seo.get("no_follow")))
        if applies
    ]
    return _template().render(
        page=page,
        seo=seo,
        look=look,
        navigation=look.navigation,
        title=seo.get("title") or page["title"] or look.site_name,
        description=seo.get("description") or page["description"],
        robots=", ".join(robots),
        canonical=seo.get("canonical_url") or canonical,
        alternates=alternates,
        social_image=seo.get("social_image_url") or look.social_image_url,
        card=CARDS.get(cast("int", seo.get("card") or 0), "summary"),
        style=Markup(look.style),  # noqa: S704 - of colours and of fonts without quotes
    )


@cache
def _template() -> Template:
    environment = Environment(loader=FileSystemLoader(HTML), autoescape=True, undefined=ChainableUndefined)
    environment.filters |= {"rich": _rich, "address": _address, "lines": _lines, "data": _data, "objects": _objects}
    kinds = environment.get_template("sections.html").module

    def show(section: JsonObject) -> Markup:
        """A section. Of a type of the site's own, nothing but its place is shown: its front end knows what it means."""
        kind = str(section["kind"])
        shown = getattr(kinds, kind.replace("-", "_"))(section.get("content") or {}) if kind in BUILT_IN else ""
        return Markup('<section class="{}" id="section-{}">{}</section>').format(kind, section.get("id", kind), shown)

    environment.globals["show"] = show
    return environment.get_template("page.html")


def _objects(value: object) -> list[JsonObject]:
    """The objects in a list; none, if it is no list. A type of the site's own may have another form of this kind."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _rich(value: object) -> Markup:
    return Markup(clean_html(value)) if isinstance(value, str) else Markup()  # noqa: S704 - cleaned


def _address(value: object) -> str:
    return value if isinstance(value, str) and is_address(value) else "#"


def _lines(value: object) -> Markup:
    return Markup("<br>").join(escape(line) for line in str(value).splitlines())


def _data(value: object) -> Markup:
    """JSON within a script element, which nothing in it ends."""
    text = json.dumps(value, ensure_ascii=False).replace("<", "\\u003c").replace("\u2028", "\\u2028")
    return Markup(text)  # noqa: S704 - has no `<`
