"""Pages of a tenant's site."""

from collections.abc import AsyncIterator

import psycopg
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.message import Message
from plinth.sites.v1 import page_pb2
from plinth.sites.v1.page_pb2 import Page, PageEvent
from sqlalchemy import bindparam, select

from server.data.events import Event
from server.data.statements import Statement
from server.domains.sites.slugs import free_slug, slug_of, with_suffix
from server.domains.sites.tables import pages, pages_search
from server.kernel.call import Call
from server.kernel.clock import Clock, utc_now
from server.kernel.live import LiveEvents, events_of, server_sent
from server.kernel.problems import Collision, Problem, StateForbids, Violation, broken_rules, not_found
from server.kernel.resources import Resource, Service
from server.kernel.search import Search

EVENTS = ("page.*",)
COPY = "-copy"
SLUG_KEY = "pages_slug_key"


class PageService(Service[Page]):
    """Pages of a tenant's site."""

    descriptor = page_pb2.DESCRIPTOR.services_by_name["PageService"]
    resource = Resource(
        Page,
        pages,
        filterable=("id", "slug", "title", "status", "create_time", "update_time", "publish_time"),
        sortable=("create_time", "update_time", "slug", "title"),
        unique={SLUG_KEY: "slug"},
        search=Search(pages_search, {"title": 3, "slug": 2, "description": 1}),
    )

    def __init__(self, live: LiveEvents | None = None, clock: Clock = utc_now) -> None:
        """`live` is set only in the realtime role, which serves the streams."""
        super().__init__()
        self._live = live
        self._clock = clock
        tenant = bindparam("tenant", type_=pages.c.tenant_id.type)
        alive = (pages.c.tenant_id == tenant, pages.c.delete_time.is_(None))
        slug = bindparam("slug_asked", type_=pages.c.slug.type)
        self._by_slug = Statement(select(*self.rows.plan.columns).where(*alive, pages.c.slug == slug))

    def prepare(self, call: Call, resource: Page, before: Page | None) -> None:
        """Make a new page a draft. Without a slug, it gets one from its title."""
        if before is None:
            resource.status = Page.STATUS_DRAFT
            if resource.title and not resource.slug:
                resource.slug = self._slug_from_title(call, resource.title)

    def get_page_by_slug(self, call: Call, request: page_pb2.GetPageBySlugRequest) -> Page:
        """Get a page by its slug."""
        page: Page | None = self.rows.find(call, self._by_slug, tenant=request.tenant_id, slug_asked=request.slug)
        if page is None:
            raise not_found(self.rows.type, request.slug)
        return page

    def duplicate_page(self, call: Call, request: page_pb2.DuplicatePageRequest) -> Page:
        """Copy a page as a new draft."""
        original: Page = self.rows.lock(call, request.page_id)
        copy = Page(
            slug=request.slug or self._chosen(call, free_slug(call, with_suffix(original.slug, COPY))),
            title=request.title or original.title,
            description=original.description,
        )
        if original.HasField("settings"):
            copy.settings.CopyFrom(original.settings)
        return self.rows.insert(call, copy)

    def publish_page(self, call: Call, request: page_pb2.PublishPageRequest) -> Page:
        """Publish a page on the site."""
        before: Page = self.rows.lock(call, request.page_id, etag=request.etag)
        page = Page()
        page.CopyFrom(before)
        page.status = Page.STATUS_PUBLISHED
        page.publish_time.FromDatetime(self._clock())
        return self.rows.update(call, page, before)

    def unpublish_page(self, call: Call, request: page_pb2.UnpublishPageRequest) -> Page:
        """Remove a page from the site."""
        before: Page = self.rows.lock(call, request.page_id, etag=request.etag)
        if before.status != Page.STATUS_PUBLISHED:
            raise StateForbids(
                "The page is not published.",
                metadata={"resource_type": self.rows.type, "resource": before.id, "state": "DRAFT"},
            )
        page = Page()
        page.CopyFrom(before)
        page.status = Page.STATUS_DRAFT
        return self.rows.update(call, page, before)

    def watch_pages(self, call: Call, request: page_pb2.WatchPagesRequest) -> AsyncIterator[Message]:
        """The events of a tenant's pages, as messages."""
        return events_of(self._live, call, EVENTS, request.last_event_id, as_message)

    def stream_pages(self, call: Call, request: page_pb2.StreamPagesRequest) -> AsyncIterator[HttpBody]:
        """The same as server-sent events."""
        return server_sent(self._live, call, EVENTS, request.last_event_id)

    def _slug_from_title(self, call: Call, title: str) -> str:
        """The slug of a title, numbered if it is taken. A conflict is mostly detected by the insertion."""
        slug = slug_of(title)
        if not slug:
            description = "has no letters or digits to make a slug from: send a slug"
            raise broken_rules([Violation("page.title", description, "page.title.slug")])
        return self._chosen(call, free_slug(call, slug) if call.collisions else slug)

    def _chosen(self, call: Call, slug: str) -> str:
        """Mark a generated slug: if it turns out to be taken, the call is retried with another one."""
        call.conflicts[pages.name] = self._collision
        return slug

    def _collision(self, error: psycopg.errors.UniqueViolation) -> Problem:
        problem = self.rows.taken(error)
        if error.diag.constraint_name != SLUG_KEY:
            return problem
        return Collision(problem.message, metadata=problem.metadata)


def as_message(event: Event) -> PageEvent:
    """An event as a message of WatchPages."""
    message = PageEvent(id=str(event.position), type=event.type, page=Page.FromString(event.payload))
    message.create_time.FromDatetime(event.create_time)
    return message
