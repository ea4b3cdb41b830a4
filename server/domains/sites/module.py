"""Sites: the pages of a tenant's site, their sections, and the navigation."""

from server.data.grants import Grants
from server.domains.sites.navigation_items import NavigationItemService
from server.domains.sites.page_seo import PageSeoService
from server.domains.sites.page_templates import PageTemplateService
from server.domains.sites.page_versions import PageVersionService
from server.domains.sites.pages import PageService
from server.domains.sites.published_sites import PublishedSiteService
from server.domains.sites.redirects import RedirectService
from server.domains.sites.section_types import SectionContents, SectionTypeService
from server.domains.sites.sections import SectionService
from server.domains.sites.site_archives import SiteArchiveService
from server.domains.sites.site_seo import SiteSeoService
from server.domains.sites.tables import (
    navigation_items,
    page_seo,
    page_templates,
    page_versions,
    pages,
    pages_search,
    redirects,
    section_types,
    sections,
    site_seo,
)
from server.kernel.module import Background, Module, Serve, WorkerPlatform
from server.kernel.privacy import NotPersonal

CONTENT = "what a tenant publishes, about persons only at its own will"


def _background(platform: WorkerPlatform) -> Background:
    from server.domains.sites.schedules import PageSchedules  # noqa: PLC0415 - in workers only
    from server.domains.sites.site_exports import SiteExport  # noqa: PLC0415
    from server.domains.sites.site_imports import SiteImport  # noqa: PLC0415

    schedules = PageSchedules(platform.dispatch, platform.database, platform.generations, platform.clock)
    ports = platform.ports
    export = SiteExport(platform.database, ports.site_places, ports.linked_assets, ports.work_files)
    made = SiteImport(ports.work_files, platform.on_behalf, platform.clock)
    return Background(schedules=(schedules.schedule,), long_jobs=(export.long_job, made.long_job))


MODULE = Module(
    "sites",
    services=(
        Serve(PageService, lambda platform: PageService(platform.live, platform.clock)),
        Serve(
            SectionService,
            lambda platform: SectionService(SectionContents(platform.database, platform.generations)),
        ),
        SectionTypeService,
        PageVersionService,
        PageTemplateService,
        PageSeoService,
        RedirectService,
        Serve(SiteSeoService, lambda platform: SiteSeoService(platform.clock)),
        NavigationItemService,
        Serve(SiteArchiveService, lambda platform: SiteArchiveService(platform.ports.work_files)),
        Serve(
            PublishedSiteService,
            lambda platform: PublishedSiteService(
                platform.database, platform.ports.site_places, platform.ports.tenant_preferences
            ),
        ),
    ),
    roles={
        "editor": ("sites.*",),
        "member": ("sites.*.read",),
        "viewer": ("sites.*.read",),
        "employee": ("sites.*.read",),
        "partner": ("sites.*.read",),
    },
    grants=Grants(
        dispatch_finds={
            "pages": "(scheduled_publish_time IS NOT NULL) OR (scheduled_unpublish_time IS NOT NULL)",
        }
    ),
    background=_background,
    erases=(
        NotPersonal(pages, "slug", "title", "description", "settings", "locale", why=CONTENT),
        NotPersonal(pages_search.words, "word", why=CONTENT),
        NotPersonal(pages_search.typos, "key", "word", why=CONTENT),
        NotPersonal(sections, "kind", "title", "content", "style", why=CONTENT),
        NotPersonal(page_versions, "page_id", "note", "title", "content", "digest", why=CONTENT),
        NotPersonal(
            page_templates,
            *("key", "display_name", "description", "category", "industry", "thumbnail_url", "page_title"),
            *("page_settings", "sections"),
            why="of the platform",
        ),
        NotPersonal(section_types, "kind", "display_name", "description", "schema", why=CONTENT),
        NotPersonal(redirects, "path", "url", "page_id", "note", why=CONTENT),
        NotPersonal(
            page_seo,
            *("title", "description", "keywords", "canonical_url", "social_title", "social_description"),
            *("social_image_url", "structured_data", "page_id"),
            why=CONTENT,
        ),
        NotPersonal(site_seo, "site_name", "social_image_url", "findings", why=CONTENT),
        NotPersonal(navigation_items, "title", "url", "page_id", "parent_id", why=CONTENT),
    ),
)
