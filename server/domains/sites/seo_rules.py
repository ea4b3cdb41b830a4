"""Rules of search engine optimisation: what could be better about the metadata of a page.

The lengths are those that Google shows before it cuts: about 600 pixels of a title, and 160 characters of a text.
"""

from collections.abc import Iterator

from plinth.sites.v1.page_pb2 import Page
from plinth.sites.v1.page_seo_pb2 import PageSeo, SeoFinding
from plinth.sites.v1.site_seo_pb2 import SiteSeo

BEST = 100
TITLE = (15, 60)
DESCRIPTION = (50, 160)


def is_indexed(seo: PageSeo, site: SiteSeo) -> bool:
    """Whether search engines are not asked to leave out a page, by itself or with the whole site."""
    return not (seo.no_index or site.no_index)


def findings_of(page: Page, seo: PageSeo, site: SiteSeo) -> list[SeoFinding]:
    """What could be better, the most important first. Nothing of a page that search engines leave out."""
    if not is_indexed(seo, site):
        return []
    return sorted(_findings(page, seo, site), key=lambda finding: -finding.weight)


def score_of(findings: list[SeoFinding]) -> int:
    """100 less what the findings cost."""
    return max(0, BEST - sum(finding.weight for finding in findings))


def _findings(page: Page, seo: PageSeo, site: SiteSeo) -> Iterator[SeoFinding]:
    title, description = seo.title or page.title, seo.description or page.description
    if not title:
        yield _finding("title.missing", "title", "Neither this nor the page has a title: write one.", 40)
    else:
        yield from _length("title", title, TITLE, 15)
    if not description:
        advice = "Neither this nor the page has a description: write what a visitor finds here."
        yield _finding("description.missing", "description", advice, 25)
    else:
        yield from _length("description", description, DESCRIPTION, 10)
    if title and title.casefold() == description.casefold():
        advice = "The description repeats the title: say more."
        yield _finding("description.repeats", "description", advice, 10)
    if not seo.social_image_url and not site.social_image_url:
        advice = "Links that people share have no image: give one of 1200 x 630 pixels."
        yield _finding("social_image.missing", "social_image_url", advice, 10)
    if not seo.HasField("structured_data"):
        advice = "Search engines are told no facts: give structured data, such as a LocalBusiness of schema.org."
        yield _finding("structured_data.missing", "structured_data", advice, 5)


def _length(field: str, text: str, bounds: tuple[int, int], weight: int) -> Iterator[SeoFinding]:
    least, most = bounds
    if len(text) < least:
        advice = f"It has {len(text)} characters; at least {least} tell more."
        yield _finding(f"{field}.short", field, advice, weight)
    elif len(text) > most:
        advice = f"It has {len(text)} characters, and is cut after about {most}."
        yield _finding(f"{field}.long", field, advice, weight)


def _finding(rule: str, field: str, advice: str, weight: int) -> SeoFinding:
    return SeoFinding(rule=rule, field=field, advice=advice, weight=weight)
