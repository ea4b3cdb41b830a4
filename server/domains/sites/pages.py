"""Pages of a tenant's site."""

from collections.abc import AsyncIterator
from itertools import chain, count
from typing import cast

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.message import Message
from plinth.sites.v1 import page_pb2
from plinth.sites.v1.page_pb2 import Page, PageEvent
from slugify import slugify
from sqlalchemy import bindparam, func, select

from server.data.events import Event
from server.data.statements import Statement
from server.domains.sites.tables import pages
from server.kernel.call import Call
from server.kernel.clock import Clock, utc_now
from server.kernel.live import LiveEvents
from server.kernel.problems import StateForbids, Violation, not_found
from server.kernel.resource import Resource
from server.kernel.service import Service
from server.kernel.sse import events_of, framing, server_sent
from server.kernel.steps.validate import broken_rules

LONGEST_SLUG = 64
EVENTS = "page."
# Copies of one page, beyond which the caller names the slug.
MOST_COPIES = 200


class PageService(Service):
    """Pages of a tenant's site."""

    descriptor = page_pb2.DESCRIPTOR.services_by_name["PageService"]
    resource = Resource(
        Page,
        pages,
        filterable=("id", "slug", "title", "status", "create_time", "update_time", "publish_time"),
        sortable=("create_time", "update_time", "slug", "title"),
        unique={"pages_slug_key": "slug"},
    )

    def __init__(self, live: LiveEvents | None = None, clock: Clock = utc_now) -> None:
        """`live` is there in the realtime role only, which serves the streams."""
        super().__init__()
        self._live = live
        self._clock = clock
        tenant = bindparam("tenant", type_=pages.c.tenant_id.type)
        alive = (pages.c.tenant_id == tenant, pages.c.delete_time.is_(None))
        slug = bindparam("slug_asked", type_=pages.c.slug.type)
        self._by_slug = Statement(select(*self.rows.plan.columns).where(*alive, pages.c.slug == slug))
        copies = pages.c.slug.like(bindparam("copies", type_=pages.c.slug.type))
        self._copies = Statement(select(func.array_agg(pages.c.slug).label("slugs")).where(*alive, copies))

    def prepare(self, call: Call, resource: Page, before: Page | None) -> None:
        """A new page is a draft, and gets a slug from its title when it brings none."""
        del call
        if before is None:
            resource.status = Page.STATUS_DRAFT
            resource.slug = resource.slug or slugify(resource.title, max_length=LONGEST_SLUG, word_boundary=True)

    def get_page_by_slug(self, request: page_pb2.GetPageBySlugRequest, call: Call) -> Page:
        """Get a page by its slug."""
        page: Page | None = self.rows.find(call, self._by_slug, tenant=request.tenant_id, slug_asked=request.slug)
        if page is None:
            raise not_found(self.rows.type, request.slug)
        return page

    def duplicate_page(self, request: page_pb2.DuplicatePageRequest, call: Call) -> Page:
        """Copy a page as a new draft."""
        # Locked, so that copies of one page that are made at once find different slugs.
        original: Page = self.rows.lock(call, request.page_id)
        copy = Page(
            slug=request.slug or self._free_slug(call, original.slug),
            title=request.title or original.title,
            description=original.description,
        )
        if original.HasField("settings"):
            copy.settings.CopyFrom(original.settings)
        return cast("Page", self.rows.insert(call, copy))

    def publish_page(self, request: page_pb2.PublishPageRequest, call: Call) -> Page:
        """Put a page on the site."""
        before: Page = self.rows.lock(call, request.page_id, etag=request.etag)
        page = Page()
        page.CopyFrom(before)
        page.status = Page.STATUS_PUBLISHED
        page.publish_time.FromDatetime(self._clock())
        return cast("Page", self.rows.update(call, page, before))

    def unpublish_page(self, request: page_pb2.UnpublishPageRequest, call: Call) -> Page:
        """Take a page off the site."""
        before: Page = self.rows.lock(call, request.page_id, etag=request.etag)
        if before.status != Page.STATUS_PUBLISHED:
            raise StateForbids(
                "The page is not published.",
                metadata={"resource_type": self.rows.type, "resource": before.id, "state": "DRAFT"},
            )
        page = Page()
        page.CopyFrom(before)
        page.status = Page.STATUS_DRAFT
        return cast("Page", self.rows.update(call, page, before))

    def watch_pages(self, request: page_pb2.WatchPagesRequest, call: Call) -> AsyncIterator[Message]:
        """What happens to the pages of a tenant, as messages."""
        return events_of(self._live, call, EVENTS, request.last_event_id, as_message)

    def stream_pages(self, request: page_pb2.StreamPagesRequest, call: Call) -> AsyncIterator[HttpBody]:
        """The same as server-sent events."""
        return server_sent(self._live, call, EVENTS, request.last_event_id, as_frame)

    def _free_slug(self, call: Call, slug: str) -> str:
        """The first free one of `<slug>-copy`, `<slug>-copy-2` ..., cut to fit."""
        stem = slug[: LONGEST_SLUG - len("-copy-999")].rstrip("-")
        row = call.writes.run(self._copies, tenant=call.tenant_id, copies=f"{stem}-copy%").one()
        used = set(row["slugs"] or ())
        names = chain([f"{stem}-copy"], (f"{stem}-copy-{number}" for number in count(2)))
        for name, _ in zip(names, range(MOST_COPIES), strict=False):
            if name not in used:
                return name
        raise broken_rules([Violation("slug", f"name one: there are {MOST_COPIES} copies already", "page.slug.copies")])


def as_message(event: Event) -> PageEvent:
    """An event as WatchPages tells it."""
    message = PageEvent(id=str(event.position), type=event.type, page=Page.FromString(event.payload))
    message.create_time.FromDatetime(event.create_time)
    return message


as_frame = framing(Page)
"""An event as StreamPages tells it."""
