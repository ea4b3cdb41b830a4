"""SEO of a tenant's whole site: what its published pages lack, and what rules propose."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from plinth.sites.v1 import site_seo_pb2
from plinth.sites.v1.page_pb2 import Page
from plinth.sites.v1.page_seo_pb2 import PageSeo, SeoFinding
from plinth.sites.v1.site_seo_pb2 import OptimizeSiteSeoResponse, SeoProposal, SiteSeo, SiteSeoFinding
from sqlalchemy import ARRAY, Text, and_, bindparam, column, func, literal_column, select, text, true
from sqlalchemy.dialects.postgresql import UUID, insert

from server.data.statements import Row, Statement
from server.domains.sites.seo_proposals import better_title, text_in
from server.domains.sites.seo_rules import DESCRIPTION, TITLE, findings_of, is_indexed, score_of
from server.domains.sites.tables import page_seo, pages, sections, site_seo
from server.json_values import JsonValue
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.resources import Resource, Service

MOST_PAGES = 10_000
MOST_OPTIMIZED = 100
BATCH = 50
"""Pages whose sections are read at once, and of each its first ones: 16 MB if each has the most that it may."""
FIRST_SECTIONS = 5
EXAMPLES = 10
_id = UUID(as_uuid=False)
_tenant = bindparam("tenant", type_=_id)
_s = page_seo.c
PUBLISHED = Statement(
    select(
        pages.c.id,
        pages.c.title.label("page_title"),
        pages.c.description.label("page_description"),
        *(_s.title, _s.description, _s.no_index, _s.social_image_url),
        _s.structured_data.is_not(None).label("has_data"),
    )
    .select_from(pages.outerjoin(page_seo, and_(_s.tenant_id == pages.c.tenant_id, _s.id == pages.c.id)))
    .where(
        pages.c.tenant_id == _tenant,
        pages.c.delete_time.is_(None),
        pages.c.status == literal_column(str(int(Page.STATUS_PUBLISHED))),
    )
    .order_by(pages.c.create_time, pages.c.id)
    .limit(MOST_PAGES)
)
"""Takes `tenant`. Published pages with their metadata, the oldest first."""
_asked = func.unnest(bindparam("ids", type_=ARRAY(_id))).table_valued(column("id", _id)).render_derived(name="asked")
_first = (
    select(sections.c.content, sections.c.place, sections.c.id)
    .where(
        sections.c.tenant_id == _tenant,
        sections.c.page_id == _asked.c.id,
        sections.c.delete_time.is_(None),
        sections.c.hidden.is_(False),
        sections.c.content.is_not(None),
    )
    .order_by(sections.c.place, sections.c.id)
    .limit(FIRST_SECTIONS)
    .lateral("first")
)
CONTENTS = Statement(
    select(_asked.c.id.label("page_id"), _first.c.content)
    .select_from(_asked.join(_first, true()))
    .order_by(_asked.c.id, _first.c.place, _first.c.id)
)
"""Takes `tenant` and `ids`. What the first sections of pages say, in their order."""
_given = (
    func.unnest(
        bindparam("ids", type_=ARRAY(_id)),
        bindparam("titles", type_=ARRAY(Text())),
        bindparam("descriptions", type_=ARRAY(Text())),
    )
    .table_valued(column("id", _id), column("title", Text()), column("description", Text()))
    .render_derived(name="given")
)
_new = insert(page_seo).from_select(
    ["tenant_id", "id", "page_id", "title", "description"],
    select(_tenant, _given.c.id, _given.c.id, _given.c.title, _given.c.description),
)
FILL = Statement(
    _new.on_conflict_do_update(
        index_elements=[_s.tenant_id, _s.id],
        set_={
            "title": func.coalesce(func.nullif(_s.title, literal_column("''")), _new.excluded.title),
            "description": func.coalesce(func.nullif(_s.description, literal_column("''")), _new.excluded.description),
            "version": _s.version + text("1"),
            "update_time": func.now(),
        },
    )
)
"""Takes `tenant`, `ids`, `titles` and `descriptions`. Fills what is empty in the metadata of pages."""


class Told(NamedTuple):
    """What search engines are told of a page, and what could be better about it."""

    page: Page
    seo: PageSeo
    findings: list[SeoFinding]
    is_indexed: bool

    @property
    def title(self) -> str:
        """The title that they are told."""
        return self.seo.title or self.page.title

    @property
    def description(self) -> str:
        """The description that they are told."""
        return self.seo.description or self.page.description

    def rule_of(self, field: str) -> str:
        """The rule that a field breaks; empty if it breaks none."""
        return next((finding.rule for finding in self.findings if finding.field == field), "")


class SiteSeoService(Service[SiteSeo]):
    """SEO of a site."""

    descriptor = site_seo_pb2.DESCRIPTOR.services_by_name["SiteSeoService"]
    resource = Resource(SiteSeo, site_seo, singleton=True)

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def refresh_site_seo(self, call: Call, request: site_seo_pb2.RefreshSiteSeoRequest) -> SiteSeo:
        """Hold all pages against the rules."""
        del request
        # Nothing is locked until then: readers of the event log wait for every transaction that has a lock.
        told = list(_published(call, self.rows.get(call)))
        findings = _findings_of_site(told)
        before = self.rows.lock(call)
        after = self.rows.copy_of(before)
        after.page_count = len(told)
        after.score = round(sum(score_of(each.findings) for each in told) / len(told)) if told else 0
        del after.findings[:]
        after.findings.extend(findings)
        after.refresh_time.FromDatetime(self._clock())
        return self.rows.update(call, after, before)

    def optimize_site_seo(self, call: Call, request: site_seo_pb2.OptimizeSiteSeoRequest) -> OptimizeSiteSeoResponse:
        """Propose titles and descriptions, and fill empty ones with them."""
        site = self.rows.get(call)
        lacking = [each for each in _published(call, site) if each.rule_of("title") or each.rule_of("description")]
        made = filter(None, _proposals_of(call, lacking, site.site_name))
        proposals = [proposal for of_page in islice(made, MOST_OPTIMIZED) for proposal in of_page]
        if request.apply and proposals:
            _fill(call, proposals)
        else:
            call.changes_nothing = True
        return OptimizeSiteSeoResponse(proposals=proposals, page_count=len(lacking))


def _published(call: Call, site: SiteSeo) -> Iterator[Told]:
    """What is told of each published page, by the page itself, its metadata, and the settings of the site."""
    for row in call.reads.run(PUBLISHED, tenant=call.tenant_id).all():
        page, seo = _messages_of(row)
        yield Told(page, seo, findings_of(page, seo, site), is_indexed(seo, site))


def _messages_of(row: Row) -> tuple[Page, PageSeo]:
    page = Page(id=row["id"], title=row["page_title"], description=row["page_description"])
    # A page whose metadata was never changed has no row.
    seo = PageSeo(title=row["title"] or "", description=row["description"] or "", no_index=bool(row["no_index"]))
    seo.social_image_url = row["social_image_url"] or ""
    if row["has_data"]:
        seo.structured_data.SetInParent()
    return page, seo


def _findings_of_site(told: Iterable[Told]) -> list[SiteSeoFinding]:
    """The rules that pages break, with up to ten pages of each. Pages without an index break none."""
    broken: dict[str, list[str]] = defaultdict(list)
    shown = [each for each in told if each.is_indexed]
    for each in shown:
        for finding in each.findings:
            broken[finding.rule].append(each.page.id)
    _note_duplicates(broken, "title.duplicate", {each.page.id: each.title for each in shown})
    _note_duplicates(broken, "description.duplicate", {each.page.id: each.description for each in shown})
    return [
        SiteSeoFinding(rule=rule, page_count=len(ids), page_ids=ids[:EXAMPLES])
        for rule, ids in sorted(broken.items(), key=lambda entry: (-len(entry[1]), entry[0]))
    ]


def _note_duplicates(broken: dict[str, list[str]], rule: str, texts: Mapping[str, str]) -> None:
    counts = Counter(text.casefold() for text in texts.values() if text)
    ids = [page_id for page_id, text in texts.items() if counts[text.casefold()] > 1]
    if ids:
        broken[rule] = ids


def _proposals_of(call: Call, lacking: Sequence[Told], site_name: str) -> Iterator[list[SeoProposal]]:
    """The proposals for each page, some of which have none. Sections are read for as many as are asked for."""
    for start in range(0, len(lacking), BATCH):
        batch = lacking[start : start + BATCH]
        contents = defaultdict[str, list[JsonValue]](list)
        ids = [each.page.id for each in batch if each.rule_of("description") and not each.seo.description]
        for row in call.reads.run(CONTENTS, tenant=call.tenant_id, ids=ids).all() if ids else ():
            contents[row["page_id"]].append(row["content"])
        for each in batch:
            description = text_in((each.page.description, *contents[each.page.id]), DESCRIPTION[1])
            better = {"title": better_title(each.title, site_name, TITLE[1]), "description": description}
            yield list(_proposals(each, better))


def _proposals(told: Told, better: Mapping[str, str]) -> Iterator[SeoProposal]:
    """Better values of fields that break a rule, and that nobody has written for search engines."""
    now = {"title": told.title, "description": told.description}
    written = {"title": told.seo.title, "description": told.seo.description}
    for field, after in better.items():
        rule = told.rule_of(field)
        if rule and not written[field] and after not in ("", now[field]):
            yield SeoProposal(page_id=told.page.id, field=field, rule=rule, before=now[field], after=after)


def _fill(call: Call, proposals: Iterable[SeoProposal]) -> None:
    better = {(each.page_id, each.field): each.after for each in proposals}
    ids = sorted({page_id for page_id, _ in better})
    call.writes.run(
        FILL,
        tenant=call.tenant_id,
        ids=ids,
        titles=[better.get((each, "title"), "") for each in ids],
        descriptions=[better.get((each, "description"), "") for each in ids],
    )
