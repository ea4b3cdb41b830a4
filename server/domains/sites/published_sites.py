"""Published sites, as visitors see them."""

import hashlib
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import quote

from google.api.httpbody_pb2 import HttpBody
from plinth.sites.v1 import published_site_pb2
from plinth.sites.v1.published_site_pb2 import PublishedPage

from server.data.transactions import Database, Scope, Transaction
from server.domains.sites.drafts import shown_content
from server.domains.sites.published_pages import (
    Moved,
    Published,
    find_page,
    listed_pages,
    navigation_of,
    site_settings,
    translations_of,
)
from server.domains.sites.site_html import Look, page_html
from server.kernel.call import Call
from server.kernel.ports import SitePlace, SitePlaces, TenantPreferences
from server.kernel.problems import not_found
from server.kernel.resources import Service

if TYPE_CHECKING:
    from server.json_values import JsonObject

PERMANENT, TEMPORARY, ABSENT = 308, 307, 404
ETAG_BYTES = 12
# Caches ask again after a minute, and may show what they have while they do.
CACHED = ("cache-control", "public, max-age=0, s-maxage=60, stale-while-revalidate=600")
PAGE_TYPE = "plinth.dev/Page"
SITE_TYPE = "plinth.dev/Site"
_NOTHING: "JsonObject" = {"kind": "hero", "content": {"heading": "Not found", "text": "Nothing is at this address."}}
NOTHING: "JsonObject" = {"title": "Not found", "description": "", "sections": [_NOTHING]}
"""What is shown where no page is."""


class PublishedSiteService(Service):
    """What visitors see."""

    descriptor = published_site_pb2.DESCRIPTOR.services_by_name["PublishedSiteService"]

    def __init__(
        self,
        database: Database,
        places: SitePlaces,
        preferences_of: Callable[[Transaction, str], TenantPreferences],
    ) -> None:
        """`preferences_of` is the port `tenant_preferences`."""
        super().__init__()
        self._database = database
        self._places = places
        self._preferences_of = preferences_of

    def show_published_page(self, call: Call, request: published_site_pb2.ShowPublishedPageRequest) -> HttpBody:
        """A page as HTML."""
        place = self._places.at(request.host)
        if place is None:
            return _nothing(call, Look(site_name=""))
        with self._database.read(Scope(tenant_id=place.tenant_id)) as transaction:
            look = self._look(transaction, place)
            found = find_page(transaction, place.tenant_id, request.path)
            others = translations_of(transaction, place.tenant_id, found) if isinstance(found, Published) else []
        origin = f"https://{request.host.lower()}"
        if isinstance(found, Moved):
            return _moved(call, found)
        if found is None:
            return _nothing(call, look)
        alternates = [(locale, f"{origin}{quote(path)}") for locale, path in others]
        page = {**found.draft, "locale": found.locale}
        return _html(call, look, page_html(page, look, canonical=f"{origin}{quote(found.path)}", alternates=alternates))

    def get_published_page(self, call: Call, request: published_site_pb2.GetPublishedPageRequest) -> PublishedPage:
        """A page with its content."""
        place = self._place(request.host)
        with self._database.read(Scope(tenant_id=place.tenant_id)) as transaction:
            found = find_page(transaction, place.tenant_id, request.path)
        call.headers.append(CACHED)
        if found is None:
            raise not_found(PAGE_TYPE, request.path or "/")
        page = _content_of(found)
        page.etag = _etag(page.SerializeToString(deterministic=True))
        return page

    def get_site_map(self, call: Call, request: published_site_pb2.GetSiteMapRequest) -> HttpBody:
        """The addresses that search engines may list."""
        place = self._place(request.host)
        with self._database.read(Scope(tenant_id=place.tenant_id)) as transaction:
            listed = listed_pages(transaction, place.tenant_id)
            if site_settings(transaction, place.tenant_id)["no_index"]:
                listed = []
        origin = f"https://{request.host.lower()}"
        urls = "".join(
            f"<url><loc>{escape(origin + quote(path))}</loc><lastmod>{time:%Y-%m-%dT%H:%M:%SZ}</lastmod></url>\n"
            for path, time in listed
        )
        text = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{urls}</urlset>\n'
        )
        call.headers.append(CACHED)
        return _body(call, "application/xml; charset=utf-8", text)

    def get_robots_file(self, call: Call, request: published_site_pb2.GetRobotsFileRequest) -> HttpBody:
        """What robots may do."""
        place = self._place(request.host)
        with self._database.read(Scope(tenant_id=place.tenant_id)) as transaction:
            is_closed = site_settings(transaction, place.tenant_id)["no_index"]
        lines = ["User-agent: *", "Disallow: /" if is_closed else "Disallow: /api/"]
        if not is_closed:
            lines.append(f"Sitemap: https://{request.host.lower()}/sitemap.xml")
        call.headers.append(CACHED)
        return _body(call, "text/plain; charset=utf-8", "\n".join(lines) + "\n")

    def _place(self, host: str) -> SitePlace:
        place = self._places.at(host)
        if place is None:
            raise not_found(SITE_TYPE, host)
        return place

    def _look(self, transaction: Transaction, place: SitePlace) -> Look:
        branding = self._places.branding(transaction, place.tenant_id)
        settings = site_settings(transaction, place.tenant_id)
        return Look(
            site_name=settings["site_name"] or place.name,
            logo_url=branding.logo_url,
            favicon_url=branding.favicon_url,
            primary_color=branding.primary_color,
            secondary_color=branding.secondary_color,
            accent_color=branding.accent_color,
            heading_font=branding.heading_font,
            body_font=branding.body_font,
            locale=self._preferences_of(transaction, place.tenant_id).language,
            social_image_url=settings["social_image_url"],
            no_index=settings["no_index"],
            navigation=navigation_of(transaction, place.tenant_id),
        )


def _content_of(found: Published | Moved) -> PublishedPage:
    """What a front end gets, without hidden sections."""
    if isinstance(found, Moved):
        return PublishedPage(redirect_url=found.url, is_temporary=found.is_temporary)
    page = PublishedPage(page_id=found.id, path=found.path, locale=found.locale)
    page.publish_time.FromDatetime(found.publish_time)
    content = shown_content(found.draft)
    shown = [section for section in content.sections if not section.hidden]
    del content.sections[:]
    content.sections.extend(shown)
    page.content.CopyFrom(content)
    return page


def _nothing(call: Call, look: Look) -> HttpBody:
    call.http_status = ABSENT
    return _html(call, look, page_html(NOTHING, look._replace(no_index=True)))


def _moved(call: Call, moved: Moved) -> HttpBody:
    call.headers.append(CACHED)
    call.http_status = TEMPORARY if moved.is_temporary else PERMANENT
    call.headers.append(("location", moved.url))
    link = f'<a href="{escape(moved.url)}">{escape(moved.url)}</a>'
    return HttpBody(content_type="text/html; charset=utf-8", data=f"<!doctype html><title>Moved</title>{link}".encode())


def _html(call: Call, look: Look, text: str) -> HttpBody:
    call.headers += [CACHED, ("content-security-policy", look.policy)]
    return _body(call, "text/html; charset=utf-8", text)


def _body(call: Call, kind: str, text: str) -> HttpBody:
    body = HttpBody(content_type=kind, data=text.encode())
    call.etag = _etag(body.data)
    return body


def _etag(content: bytes) -> str:
    return f'W/"{hashlib.blake2b(content, digest_size=ETAG_BYTES).hexdigest()}"'
