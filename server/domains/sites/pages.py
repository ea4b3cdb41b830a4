"""Pages of a tenant's site."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.message import Message
from plinth.sites.v1 import page_pb2
from plinth.sites.v1.page_pb2 import Page, PageEvent
from plinth.sites.v1.page_version_pb2 import PageVersion
from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import UUID

from server.data.events import Event
from server.data.statements import Row, Statement
from server.domains.sites.drafts import VERSION, copy_draft, keep_draft, restore_draft
from server.domains.sites.moved_slugs import by_former_slug, leave_redirect
from server.domains.sites.page_paths import LEVELS, fill_paths
from server.domains.sites.tables import pages, pages_search
from server.domains.sites.template_use import NOTED, Template, fill_page, template_with
from server.json_values import JsonObject
from server.kernel.call import Call
from server.kernel.clock import Clock, utc_now
from server.kernel.live import LiveEvents, events_of, server_sent
from server.kernel.locales import usual_form
from server.kernel.messages import fill_struct
from server.kernel.problems import StateForbids, Violation, broken_rules, not_found
from server.kernel.resources import EventFacts, Resource, Service, Slugs, Tree, with_suffix
from server.kernel.search import Search

EVENTS = ("page.*",)
COPY = "-copy"
SLUG_KEY = "pages_slug_key"


PAST = timedelta(minutes=1)
"""How long ago a planned time may be, for clocks that differ."""
PAGE = Resource(
    Page,
    pages,
    filterable=(
        *("id", "slug", "title", "status", "parent_id", "locale", "original_id", "create_time", "update_time"),
        "publish_time",
    ),
    sortable=("create_time", "update_time", "slug", "title"),
    unique={SLUG_KEY: "slug", "pages_locale_key": "locale"},
    computed=("path",),
    hidden=("template_version_id",),
    tree=Tree("parent_id", LEVELS),
    search=Search(pages_search, {"title": 3, "slug": 2, "description": 1}),
)
_id = UUID(as_uuid=False)
_tenant = bindparam("tenant", type_=_id)
_page = bindparam("page", type_=_id)
_is_translated = (
    select(pages.c.id)
    .where(pages.c.tenant_id == _tenant, pages.c.original_id == _page, pages.c.delete_time.is_(None))
    .exists()
)
TRANSLATED = Statement(
    select(pages.c.original_id, _is_translated.label("is_translated")).where(
        pages.c.tenant_id == _tenant,
        pages.c.id == bindparam("original", type_=_id),
        pages.c.delete_time.is_(None),
    )
)
"""Takes `tenant`, `original` and `page`. What the original is a translation of, and whether the page has any itself."""


class PageService(Service[Page]):
    """Pages of a tenant's site."""

    descriptor = page_pb2.DESCRIPTOR.services_by_name["PageService"]
    events: ClassVar = {
        "page.schedule_failed": EventFacts(
            Page, "A page could not be published as planned, because its draft is larger than 2 MB."
        ),
    }
    resource = PAGE

    def __init__(self, live: LiveEvents | None = None, clock: Clock = utc_now) -> None:
        """`live` is set only in the realtime role, which serves the streams."""
        super().__init__()
        self._live = live
        self._clock = clock
        tenant = bindparam("tenant", type_=pages.c.tenant_id.type)
        alive = (pages.c.tenant_id == tenant, pages.c.delete_time.is_(None))
        slug = bindparam("slug_asked", type_=pages.c.slug.type)
        self._slugs = Slugs(self.rows, "page", SLUG_KEY)
        self._by_former_slug = by_former_slug(self.rows.plan.columns)
        self._by_slug = Statement(select(*self.rows.plan.columns).where(*alive, pages.c.slug == slug))

    def prepare(self, call: Call, resource: Page, before: Page | None) -> None:
        """Make a new page a draft. Without a slug, it gets one from its title."""
        resource.locale = usual_form(resource.locale)
        if before is None:
            resource.status = Page.STATUS_DRAFT
            if resource.page_template_id:
                _begin_with(resource, template_with(call.writes, resource.page_template_id))
            if resource.title and not resource.slug:
                resource.slug = self._slugs.from_title(call, resource.title)

    def check(self, call: Call, resource: Page, before: Page | None) -> None:
        """Refuse a translation of a page that is absent, or of a translation."""
        original_id = resource.original_id.lower()
        if not original_id or (before is not None and original_id == before.original_id):
            return
        row = call.writes.run(TRANSLATED, tenant=call.tenant_id, original=original_id, page=resource.id or None).first()
        if row is None:
            raise not_found(self.rows.type, resource.original_id)
        if row["original_id"] or row["is_translated"] or original_id == resource.id:
            fault = "is a translation itself, or the page has translations"
            raise broken_rules([Violation("page.original_id", fault, "page.original")])

    def before_write(self, call: Call, values: Row, before: Page | None) -> None:
        """A new page cannot be reset yet."""
        del call
        if before is None:
            values["template_version_id"] = None

    def after_write(self, call: Call, resource: Page, before: Page | None) -> None:
        """Fill a new page from its template. The former slug of a page that was ever published leads to it."""
        if before is None and resource.page_template_id:
            fill_page(call.writes, call.tenant_id, resource.id, resource.page_template_id)
        if before is not None and before.slug != resource.slug and before.HasField("publish_time"):
            leave_redirect(call.writes, call.tenant_id, before.slug, resource.id)

    def present(self, call: Call, resources: list[Page]) -> None:
        """Say where they stand on the site."""
        fill_paths(call.reads, call.tenant_id, resources)

    def get_page_by_slug(self, call: Call, request: page_pb2.GetPageBySlugRequest) -> Page:
        """Get a page by its slug, or by one that it had."""
        asked = {"tenant": request.tenant_id, "slug_asked": request.slug}
        page = self.rows.find(call, self._by_slug, **asked) or self.rows.find(call, self._by_former_slug, **asked)
        if page is None:
            raise not_found(self.rows.type, request.slug)
        return page

    def duplicate_page(self, call: Call, request: page_pb2.DuplicatePageRequest) -> Page:
        """Copy a page as a new draft."""
        original: Page = self.rows.lock(call, request.page_id)
        copy = Page(
            slug=request.slug or self._slugs.from_stem(call, with_suffix(original.slug, COPY)),
            title=request.title or original.title,
            description=original.description,
            parent_id=original.parent_id,
            locale=original.locale,
        )
        if original.HasField("settings"):
            copy.settings.CopyFrom(original.settings)
        stored = self.rows.insert(call, copy)
        copy_draft(call.writes, call.tenant_id, original.id, stored.id)
        return stored

    def publish_page(self, call: Call, request: page_pb2.PublishPageRequest) -> Page:
        """Publish a page on the site."""
        before: Page = self.rows.lock(call, request.page_id, etag=request.etag)
        page = self.rows.copy_of(before)
        kept = keep_draft(call.writes, call.tenant_id, before.id, PageVersion.REASON_PUBLISHED)
        page.version_number = kept.number
        page.status = Page.STATUS_PUBLISHED
        page.publish_time.FromDatetime(self._clock())
        page.ClearField("scheduled_publish_time")
        return self.rows.update(call, page, before)

    def unpublish_page(self, call: Call, request: page_pb2.UnpublishPageRequest) -> Page:
        """Remove a page from the site."""
        before: Page = self.rows.lock(call, request.page_id, etag=request.etag)
        if before.status != Page.STATUS_PUBLISHED:
            raise self._not_published(before)
        page = self.rows.copy_of(before)
        page.status = Page.STATUS_DRAFT
        page.ClearField("scheduled_unpublish_time")
        return self.rows.update(call, page, before)

    def schedule_page(self, call: Call, request: page_pb2.SchedulePageRequest) -> Page:
        """Plan when a page is published, and when it is taken off."""
        _check_schedule(request, self._clock() - PAST)
        before: Page = self.rows.lock(call, request.page_id, etag=request.etag)
        is_published = before.status == Page.STATUS_PUBLISHED or request.HasField("publish_time")
        if request.HasField("unpublish_time") and not is_published:
            raise self._not_published(before)
        page = self.rows.copy_of(before)
        for name in ("publish_time", "unpublish_time"):
            page.ClearField(f"scheduled_{name}")
            if request.HasField(name):
                getattr(page, f"scheduled_{name}").CopyFrom(getattr(request, name))
        return self.rows.update(call, page, before)

    def restore_page_version(self, call: Call, request: page_pb2.RestorePageVersionRequest) -> Page:
        """Make the draft what a version is."""
        return self._restored(call, request.page_id, request.page_version_id, request.etag)

    def apply_page_template(self, call: Call, request: page_pb2.ApplyPageTemplateRequest) -> Page:
        """Make a page what a template is."""
        before: Page = self.rows.lock(call, request.page_id, etag=request.etag)
        template = template_with(call.writes, request.page_template_id)
        keep_draft(call.writes, call.tenant_id, before.id, PageVersion.REASON_REPLACED)
        page = self.rows.copy_of(before)
        page.page_template_id = request.page_template_id
        if template.page_settings is not None:
            page.ClearField("settings")
        _begin_with(page, template)
        stored = self._replaced(call, page, before)
        fill_page(call.writes, call.tenant_id, before.id, request.page_template_id)
        return stored

    def reset_page_to_template(self, call: Call, request: page_pb2.ResetPageToTemplateRequest) -> Page:
        """Make the draft what its template made of the page."""
        page: Page = self.rows.get(call, request.page_id)
        version_id = call.writes.run(NOTED, tenant=call.tenant_id, page=page.id).value()
        if version_id is None:
            metadata = {"resource_type": self.rows.type, "resource": page.id, "state": "no_template"}
            raise StateForbids("The page was made of no template.", metadata=metadata)
        return self._restored(call, page.id, version_id, request.etag)

    def watch_pages(self, call: Call, request: page_pb2.WatchPagesRequest) -> AsyncIterator[Message]:
        """The events of a tenant's pages, as messages."""
        return events_of(self._live, call, EVENTS, request.last_event_id, as_message)

    def stream_pages(self, call: Call, request: page_pb2.StreamPagesRequest) -> AsyncIterator[HttpBody]:
        """The same as server-sent events."""
        return server_sent(self._live, call, EVENTS, request.last_event_id)

    def _restored(self, call: Call, page_id: str, version_id: str, etag: str) -> Page:
        key = {"tenant": call.tenant_id, "page": page_id, "kept": version_id}
        version = call.writes.run(VERSION, **key).first()
        if version is None:
            self.rows.get(call, page_id)
            raise not_found("plinth.dev/PageVersion", version_id)
        before: Page = self.rows.lock(call, page_id, etag=etag)
        keep_draft(call.writes, call.tenant_id, before.id, PageVersion.REASON_REPLACED)
        page = self.rows.copy_of(before)
        said = version["content"]
        page.title, page.description = said["title"], said["description"]
        _set_settings(page, said["settings"])
        restore_draft(call.writes, call.tenant_id, before.id, version_id)
        return self._replaced(call, page, before)

    def _replaced(self, call: Call, page: Page, before: Page) -> Page:
        """Store a page whose sections are other ones, even where the page itself says the same."""
        stored = self.rows.update(call, page, before)
        return self.rows.touch(call, before) if call.changes_nothing else stored

    def _not_published(self, page: Page) -> StateForbids:
        metadata = {"resource_type": self.rows.type, "resource": page.id, "state": "DRAFT"}
        return StateForbids("The page is not published.", metadata=metadata)


def _begin_with(page: Page, template: Template) -> None:
    """Give a page the title and the settings of a template, where it has none."""
    page.title = page.title or template.page_title
    if not page.HasField("settings"):
        _set_settings(page, template.page_settings)


def _set_settings(page: Page, settings: JsonObject | None) -> None:
    page.ClearField("settings")
    if settings is not None:
        page.settings.SetInParent()
        fill_struct(page.settings, settings)


def _check_schedule(request: page_pb2.SchedulePageRequest, earliest: datetime) -> None:
    """Refuse times that are over, or in the wrong order."""
    for name in ("publish_time", "unpublish_time"):
        if request.HasField(name) and getattr(request, name).ToDatetime(UTC) < earliest:
            raise broken_rules([Violation(name, "is over", "schedule.past")])
    is_both = request.HasField("publish_time") and request.HasField("unpublish_time")
    if is_both and request.unpublish_time.ToDatetime(UTC) <= request.publish_time.ToDatetime(UTC):
        raise broken_rules([Violation("unpublish_time", "is not after the time of publishing", "schedule.order")])


def as_message(event: Event) -> PageEvent:
    """An event as a message of WatchPages."""
    message = PageEvent(id=str(event.position), type=event.type, page=Page.FromString(event.payload))
    message.create_time.FromDatetime(event.create_time)
    return message
