"""SEO of a tenant's whole site: what its published pages lack, and what rules propose."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from plinth.sites.v1 import site_seo_pb2
from plinth.sites.v1.page_pb2 import Page
from plinth.sites.v1.page_seo_pb2 import PageSeo
from plinth.sites.v1.site_seo_pb2 import OptimizeSiteSeoResponse, SeoProposal, SiteSeo, SiteSeoFinding
from sqlalchemy import ARRAY, Text, and_, any_, bindparam, column, func, literal_column, select, text
from sqlalchemy.dialects.postgresql import UUID, insert

from server.data.statements import Row, Statement
from server.domains.sites.seo_proposals import better_title, text_in
from server.domains.sites.seo_rules import DESCRIPTION, TITLE, findings_of, score_of
from server.domains.sites.tables import page_seo, pages, sections, site_seo
from server.json_values import JsonValue
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.resources import Resource, Service

MOST_PAGES = 10_000
MOST_OPTIMIZED = 100
BATCH = 200
"""Pages whose sections are read at once."""
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
CONTENTS = Statement(
    select(sections.c.page_id, sections.c.content)
    .where(
        sections.c.tenant_id == _tenant,
        sections.c.page_id == any_(bindparam("ids", type_=ARRAY(_id))),
        sections.c.delete_time.is_(None),
        sections.c.hidden.is_(False),
        sections.c.content.is_not(None),
    )
    .order_by(sections.c.page_id, sections.c.place, sections.c.id)
)
"""Takes `tenant` and `ids`. What the sections of pages say, in their order."""
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
    rules: dict[str, int]
    """Each rule that it breaks, with what that costs."""

    @property
    def title(self) -> str:
        """The title that they are told."""
        return self.seo.title or self.page.title

    @property
    def description(self) -> str:
        """The description that they are told."""
        return self.seo.description or self.page.description


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
        before = self.rows.lock(call)
        told = list(_published(call))
        after = self.rows.copy_of(before)
        after.page_count = len(told)
        after.score = round(sum(_score(each) for each in told) / len(told)) if told else 0
        del after.findings[:]
        after.findings.extend(_findings_of_site(told))
        after.refresh_time.FromDatetime(self._clock())
        return self.rows.update(call, after, before)

    def optimize_site_seo(self, call: Call, request: site_seo_pb2.OptimizeSiteSeoRequest) -> OptimizeSiteSeoResponse:
        """Propose titles and descriptions, and fill empty ones with them."""
        site = self.rows.get(call)
        lacking = [each for each in _published(call) if any(rule.startswith(_FIELDS) for rule in each.rules)]
        made = filter(None, _proposals_of(call, lacking, site.site_name))
        proposals = [proposal for of_page in islice(made, MOST_OPTIMIZED) for proposal in of_page]
        if request.apply and proposals:
            _fill(call, proposals)
        else:
            call.changes_nothing = True
        return OptimizeSiteSeoResponse(proposals=proposals, page_count=len(lacking))


_FIELDS = ("title.", "description.")


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


def _proposals_of(call: Call, lacking: Sequence[Told], site_name: str) -> Iterator[list[SeoProposal]]:
    """The proposals for each page, some of which have none."""
    for start in range(0, len(lacking), BATCH):
        batch = lacking[start : start + BATCH]
        contents: dict[str, list[JsonValue]] = defaultdict(list)
        ids = [each.page.id for each in batch]
        for row in call.reads.run(CONTENTS, tenant=call.tenant_id, ids=ids).all():
            contents[row["page_id"]].append(row["content"])
        yield from (list(_proposals(each, contents[each.page.id], site_name)) for each in batch)


def _published(call: Call) -> Iterator[Told]:
    for row in call.reads.run(PUBLISHED, tenant=call.tenant_id).all():
        page, seo = _messages_of(row)
        yield Told(page, seo, {finding.rule: finding.weight for finding in findings_of(page, seo)})


def _messages_of(row: Row) -> tuple[Page, PageSeo]:
    page = Page(id=row["id"], title=row["page_title"], description=row["page_description"])
    # A page whose metadata was never changed has no row.
    seo = PageSeo(title=row["title"] or "", description=row["description"] or "", no_index=bool(row["no_index"]))
    seo.social_image_url = row["social_image_url"] or ""
    if row["has_data"]:
        seo.structured_data.SetInParent()
    return page, seo


def _score(told: Told) -> int:
    return score_of(findings_of(told.page, told.seo))


def _findings_of_site(told: Iterable[Told]) -> list[SiteSeoFinding]:
    """The rules that pages break, with up to ten pages of each."""
    broken: dict[str, list[str]] = defaultdict(list)
    shown = [each for each in told if not each.seo.no_index]
    for field in ("title", "description"):
        texts = Counter(getattr(each, field).casefold() for each in shown if getattr(each, field))
        broken[f"{field}.duplicate"] += [each.page.id for each in shown if texts[getattr(each, field).casefold()] > 1]
    for each in shown:
        for rule in each.rules:
            broken[rule].append(each.page.id)
    return [
        SiteSeoFinding(rule=rule, page_count=len(ids), page_ids=ids[:EXAMPLES])
        for rule, ids in sorted(broken.items(), key=lambda entry: (-len(entry[1]), entry[0]))
        if ids
    ]


def _proposals(told: Told, contents: Iterable[JsonValue], site_name: str) -> Iterator[SeoProposal]:
    """Better values of fields that nobody has written for search engines."""
    page_id = told.page.id
    rule = next((rule for rule in told.rules if rule.startswith("title.")), "")
    title = better_title(told.title, site_name, TITLE[1])
    if rule and not told.seo.title and title not in ("", told.title):
        yield SeoProposal(page_id=page_id, field="title", rule=rule, before=told.title, after=title)
    rule = next((rule for rule in told.rules if rule.startswith("description.")), "")
    description = text_in((told.page.description, *contents), DESCRIPTION[1])
    if rule and not told.seo.description and description not in ("", told.description):
        yield SeoProposal(page_id=page_id, field="description", rule=rule, before=told.description, after=description)
