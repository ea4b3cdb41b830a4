"""Imports of sites: the operation that makes a site from an archive, by the RPCs that its owner could call.

Everything is made before anything is published, so that what is refused is refused before a visitor sees a part of it;
what was made until then is deleted again.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC
from tempfile import TemporaryFile
from typing import IO, NamedTuple, TypeVar

from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from plinth.files.v1.asset_content_pb2 import UploadAssetRequest
from plinth.files.v1.asset_pb2 import Asset, DeleteAssetRequest
from plinth.sites.v1 import navigation_item_pb2, page_pb2, page_seo_pb2, redirect_pb2, section_pb2, section_type_pb2
from plinth.sites.v1.navigation_item_pb2 import NavigationItem
from plinth.sites.v1.page_pb2 import Page
from plinth.sites.v1.page_seo_pb2 import PageSeo
from plinth.sites.v1.redirect_pb2 import Redirect
from plinth.sites.v1.section_pb2 import Section
from plinth.sites.v1.section_type_pb2 import SectionType
from plinth.sites.v1.site_archive_pb2 import (
    ArchivedContent,
    ArchivedNavigationItem,
    ArchivedPage,
    SiteArchive,
)
from plinth.sites.v1.site_seo_pb2 import SiteSeo, UpdateSiteSeoRequest
from plinth.tenancy.v1.branding_pb2 import Branding, UpdateBrandingRequest

from server.domains.sites.archive_files import SITE, ArchiveReader, asset_entry, page_entry
from server.domains.sites.drafts import SAID_BY_PAGE, SAID_BY_SEO
from server.domains.sites.site_exports import FORMAT
from server.json_values import JsonValue
from server.kernel.clock import Clock
from server.kernel.delegation import Delegate, File, Started
from server.kernel.operations import PASSING, Cancelled, LongJob, Work
from server.kernel.ports import WorkFiles
from server.kernel.problems import Problem, RuleViolated, Violation, broken_rules

M = TypeVar("M", bound=Message)
IMPORT = "sites.import_site"
ASSET = re.compile("asset:([0-9a-f]{64})")
AT_ONCE = 100
"""Sections of one batch."""
PAGES, SECTIONS = "/plinth.sites.v1.PageService/", "/plinth.sites.v1.SectionService/"
NAVIGATION, REDIRECTS = "/plinth.sites.v1.NavigationItemService/", "/plinth.sites.v1.RedirectService/"
TYPES, ASSETS = "/plinth.sites.v1.SectionTypeService/", "/plinth.files.v1.AssetService/"
CONTENTS, PAGE_SEO = "/plinth.files.v1.AssetContentService/", "/plinth.sites.v1.PageSeoService/"
SITE_SEO, BRANDING = "/plinth.sites.v1.SiteSeoService/", "/plinth.tenancy.v1.BrandingService/"
NEEDED = (
    *(f"sites.pages.{verb}" for verb in ("create", "update", "delete", "publish")),
    *(f"sites.sections.{verb}" for verb in ("create", "delete")),
    *(f"sites.{what}.{verb}" for what in ("navigation", "redirects", "section_types") for verb in ("create", "delete")),
    *("sites.seo.update", "files.assets.create", "files.assets.delete", "tenancy.branding.update"),
)
"""What an archive may ask for."""


class Undo(NamedTuple):
    """A call that deletes what was made."""

    path: str
    request: Message


class SiteImport:
    """The work of the operation."""

    def __init__(self, files: WorkFiles, on_behalf: Callable[[Started], Delegate], clock: Clock) -> None:
        self._files, self._on_behalf, self._clock = files, on_behalf, clock

    @property
    def long_job(self) -> LongJob:
        """What workers run. Another attempt makes every call again, and each has its effect once."""
        return LongJob(IMPORT, self.run, resumable=True)

    def run(self, work: Work, *, file_id: str) -> dict[str, JsonValue]:
        """Make the site."""
        with TemporaryFile() as file:
            for piece in self._files.read(work.tenant_id, file_id):
                file.write(piece)
            made = _Made(work, self._on_behalf(work), self._clock)
            try:
                made.make(file)
            except (Problem, Cancelled) as error:
                if not (isinstance(error, Problem) and error.code in PASSING):
                    made.undo()
                    self._files.delete(work.tenant_id, file_id)
                raise
        self._files.delete(work.tenant_id, file_id)
        return {"pages": len(made.pages), "assets": len(made.addresses)}


class _Made:
    """A site that is being made."""

    def __init__(self, work: Work, delegate: Delegate, clock: Clock) -> None:
        self._work, self._delegate, self._clock = work, delegate, clock
        self._tenant_id = work.tenant_id
        self._undo: list[Undo] = []
        self._calls = 0
        self.pages: dict[str, Page] = {}
        """By slug."""
        self.addresses: dict[str, str] = {}
        """Of assets, by hash."""
        self._sections: dict[str, list[str]] = {}

    def make(self, file: IO[bytes]) -> None:
        """Make it. Raises the problem of what is refused, with its place."""
        reader = ArchiveReader(file)
        site = reader.message(SITE, SiteArchive())
        if site.format != FORMAT:
            raise _wrong(SITE, f"has format {site.format}, of which this version knows only {FORMAT}")
        self._upload(reader, site)
        site = reader.message(SITE, SiteArchive(), edit=self._linked)
        for kind in site.section_types:
            with _naming(f"{SITE}: sectionTypes: {kind.kind}"):
                self._make_type(_filled(SectionType(), kind))
        self._make_pages(reader, site.pages)
        with _naming(f"{SITE}: navigation"):
            self._make_items(site.navigation, "")
        for redirect in site.redirects:
            with _naming(f"{SITE}: redirects: {redirect.path}"):
                new = _filled(Redirect(page_id=self._page_id(redirect.page)), redirect, "page")
                request = redirect_pb2.CreateRedirectRequest(tenant_id=self._tenant_id, redirect=new)
                made = self._call(f"{REDIRECTS}CreateRedirect", request, Redirect)
                undo = redirect_pb2.DeleteRedirectRequest(tenant_id=self._tenant_id, redirect_id=made.id)
                self._undo.append(Undo(f"{REDIRECTS}DeleteRedirect", undo))
        with _naming(SITE):
            self._look(site)
        self._go_public(reader, site.pages)

    def undo(self) -> None:
        """Delete what was made, the newest first."""
        while self._undo:
            path, request = self._undo.pop()
            self._call(path, request, Empty)

    def _call(self, path: str, request: Message, answer: type[M]) -> M:
        """The calls of an operation have numbers, which are the same in each attempt."""
        self._calls += 1
        return self._delegate.call(path, request, answer, str(self._calls))

    def _upload(self, reader: ArchiveReader, site: SiteArchive) -> None:
        for asset in site.assets:
            with _naming(asset_entry(asset.sha256)):
                self._work.progress(0, len(site.pages), asset.filename)
                self._calls += 1
                request = UploadAssetRequest(
                    tenant_id=self._tenant_id,
                    filename=asset.filename,
                    folder=asset.folder,
                    alt=asset.alt,
                    is_public=True,
                    seal=asset.seal,
                )
                file = File(asset.filename, asset.content_type, reader.pieces(asset_entry(asset.sha256)))
                made = self._delegate.upload(f"{CONTENTS}UploadAsset", request, file, Asset, str(self._calls))
            self._undo.append(
                Undo(f"{ASSETS}DeleteAsset", DeleteAssetRequest(tenant_id=self._tenant_id, asset_id=made.id))
            )
            self.addresses[asset.sha256] = made.url

    def _linked(self, text: str) -> str:
        """A text with the addresses of assets instead of their hashes."""
        return ASSET.sub(lambda found: self.addresses.get(found[1], found[0]), text)

    def _make_type(self, kind: SectionType) -> None:
        request = section_type_pb2.CreateSectionTypeRequest(tenant_id=self._tenant_id, section_type=kind)
        made = self._call(f"{TYPES}CreateSectionType", request, SectionType)
        undo = section_type_pb2.DeleteSectionTypeRequest(tenant_id=self._tenant_id, section_type_id=made.id)
        self._undo.append(Undo(f"{TYPES}DeleteSectionType", undo))

    # Pages ---------------------------------------------------------------------------------------------------------

    def _make_pages(self, reader: ArchiveReader, slugs: Sequence[str]) -> None:
        """Make them as visitors are to see them, or else as their drafts are."""
        originals: dict[str, str] = {}
        for done, slug in enumerate(slugs):
            self._work.progress(done, len(slugs), slug)
            with _naming(page_entry(slug)):
                page = self._read(reader, slug)
                self._make_page(page)
            if page.original and page.original not in slugs[:done]:
                originals[slug] = page.original
        for slug, original in originals.items():
            with _naming(page_entry(slug)):
                self._change(slug, Page(original_id=self._page_id(original)), "original_id")

    def _make_page(self, page: ArchivedPage) -> None:
        content = page.published if page.HasField("published") else page.draft
        new = Page(slug=page.slug, locale=page.locale, parent_id=self._page_id(page.parent))
        if page.original in self.pages:
            new.original_id = self._page_id(page.original)
        request = page_pb2.CreatePageRequest(tenant_id=self._tenant_id, page=_filled(new, content, "sections", "seo"))
        made = self._call(f"{PAGES}CreatePage", request, Page)
        undo = page_pb2.DeletePageRequest(tenant_id=self._tenant_id, page_id=made.id)
        self._undo.append(Undo(f"{PAGES}DeletePage", undo))
        self.pages[page.slug] = made
        self._sections[page.slug] = self._fill(made.id, content)

    def _go_public(self, reader: ArchiveReader, slugs: Sequence[str]) -> None:
        """Publish what is published, and then make the drafts what they are."""
        for done, slug in enumerate(slugs):
            self._work.progress(done, len(slugs), slug)
            with _naming(page_entry(slug)):
                self._publish(self._read(reader, slug))

    def _publish(self, page: ArchivedPage) -> None:
        page_id = self._page_id(page.slug)
        if page.is_published:
            request = page_pb2.PublishPageRequest(tenant_id=self._tenant_id, page_id=page_id)
            self._call(f"{PAGES}PublishPage", request, Page)
        if page.HasField("published"):
            self._empty(page_id, self._sections[page.slug])
            self._change(page.slug, _filled(Page(), page.draft, "sections", "seo"), *SAID_BY_PAGE)
            self._fill(page_id, page.draft, had_seo=page.published.HasField("seo"))
        self._schedule(page, page_id)

    def _read(self, reader: ArchiveReader, slug: str) -> ArchivedPage:
        """Raises RuleViolated for a page that stands where another one is."""
        page = reader.message(page_entry(slug), ArchivedPage(), edit=self._linked)
        if page.slug != slug:
            raise _wrong("slug", f"is `{page.slug}`, and not that of the file")
        return page

    def _fill(self, page_id: str, content: ArchivedContent, *, had_seo: bool = False) -> list[str]:
        """Give a page without sections its sections and its SEO metadata. Returns the ids of the sections."""
        ids: list[str] = []
        for start in range(0, len(content.sections), AT_ONCE):
            new = (_filled(Section(), each) for each in content.sections[start : start + AT_ONCE])
            request = section_pb2.BatchCreateSectionsRequest(
                tenant_id=self._tenant_id,
                page_id=page_id,
                requests=[section_pb2.CreateSectionRequest(section=each) for each in new],
            )
            made = self._call(f"{SECTIONS}BatchCreateSections", request, section_pb2.BatchCreateSectionsResponse)
            ids += [each.id for each in made.sections]
        if had_seo or content.HasField("seo"):
            seo = page_seo_pb2.UpdatePageSeoRequest(
                tenant_id=self._tenant_id,
                page_id=page_id,
                page_seo=_filled(PageSeo(), content.seo),
                update_mask=FieldMask(paths=SAID_BY_SEO),
            )
            self._call(f"{PAGE_SEO}UpdatePageSeo", seo, PageSeo)
        return ids

    def _empty(self, page_id: str, section_ids: Sequence[str]) -> None:
        """Delete the sections that a page was made with."""
        for start in range(0, len(section_ids), AT_ONCE):
            ids = section_ids[start : start + AT_ONCE]
            request = section_pb2.BatchDeleteSectionsRequest(tenant_id=self._tenant_id, page_id=page_id, ids=ids)
            self._call(f"{SECTIONS}BatchDeleteSections", request, Empty)

    def _change(self, slug: str, page: Page, *names: str) -> None:
        request = page_pb2.UpdatePageRequest(
            tenant_id=self._tenant_id,
            page_id=self._page_id(slug),
            page=page,
            update_mask=FieldMask(paths=names),
        )
        self._call(f"{PAGES}UpdatePage", request, Page)

    def _schedule(self, page: ArchivedPage, page_id: str) -> None:
        """Plan what was planned, and is not over."""
        request = page_pb2.SchedulePageRequest(tenant_id=self._tenant_id, page_id=page_id)
        for name in ("publish_time", "unpublish_time"):
            planned = getattr(page, f"scheduled_{name}")
            if page.HasField(f"scheduled_{name}") and planned.ToDatetime(UTC) > self._clock():
                getattr(request, name).CopyFrom(planned)
        if request.HasField("publish_time") or (request.HasField("unpublish_time") and page.is_published):
            # Without a number: whether it is over may be another answer in another attempt.
            self._delegate.call(f"{PAGES}SchedulePage", request, Page, f"schedule {page.slug}")

    def _page_id(self, slug: str) -> str:
        """Empty for none. Raises RuleViolated for a page that does not come before."""
        if not slug:
            return ""
        if slug not in self.pages:
            raise _wrong("page", f"`{slug}` is none of the pages before")
        return self.pages[slug].id

    # The rest ------------------------------------------------------------------------------------------------------

    def _make_items(self, items: Sequence[ArchivedNavigationItem], parent_id: str) -> None:
        for item in items:
            new = NavigationItem(page_id=self._page_id(item.page), parent_id=parent_id)
            request = navigation_item_pb2.CreateNavigationItemRequest(
                tenant_id=self._tenant_id, navigation_item=_filled(new, item, "page", "items")
            )
            made = self._call(f"{NAVIGATION}CreateNavigationItem", request, NavigationItem)
            undo = navigation_item_pb2.DeleteNavigationItemRequest(
                tenant_id=self._tenant_id, navigation_item_id=made.id
            )
            self._undo.append(Undo(f"{NAVIGATION}DeleteNavigationItem", undo))
            self._make_items(item.items, made.id)

    def _look(self, site: SiteArchive) -> None:
        """Its colours, and what search engines are told. They are not undone: nothing is made after them."""
        if site.HasField("seo"):
            seo = UpdateSiteSeoRequest(
                site_seo=_filled(SiteSeo(), site.seo),
                update_mask=FieldMask(paths=[*site.seo.DESCRIPTOR.fields_by_name]),
            )
            self._call(f"{SITE_SEO}UpdateSiteSeo", seo, SiteSeo)
        if site.HasField("branding"):
            branding = UpdateBrandingRequest(
                tenant_id=self._tenant_id,
                branding=_filled(Branding(), site.branding),
                update_mask=FieldMask(paths=[*site.branding.DESCRIPTOR.fields_by_name]),
            )
            self._call(f"{BRANDING}UpdateBranding", branding, Branding)


def _filled(new: M, message: Message, *without: str) -> M:
    """A message with the fields of another one that have the same names."""
    known = {field.name: value for field, value in message.ListFields() if field.name not in without}
    new.MergeFrom(type(new)(**known))
    return new


@contextmanager
def _naming(place: str) -> Iterator[None]:
    """Name the place in an archive of what is refused."""
    try:
        yield
    except Problem as problem:
        if not problem.message.startswith(place):
            problem.message = f"{place}: {problem.message}"
        raise


def _wrong(name: str, fault: str) -> RuleViolated:
    return broken_rules([Violation(name, fault, "site_archive")])
