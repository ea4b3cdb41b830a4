"""Sites: the pages of a tenant's site, their sections, and the navigation."""

from server.domains.sites.navigation_items import NavigationItemService
from server.domains.sites.page_seo import PageSeoService
from server.domains.sites.pages import PageService
from server.domains.sites.sections import SectionService
from server.domains.sites.site_seo import SiteSeoService
from server.domains.sites.tables import navigation_items, page_seo, pages, pages_search, sections, site_seo
from server.kernel.module import Module, Serve
from server.kernel.privacy import NotPersonal

CONTENT = "what a tenant publishes, about persons only at its own will"
MODULE = Module(
    "sites",
    services=(
        Serve(PageService, lambda platform: PageService(platform.live, platform.clock)),
        SectionService,
        PageSeoService,
        Serve(SiteSeoService, lambda platform: SiteSeoService(platform.clock)),
        NavigationItemService,
    ),
    roles={
        "editor": ("sites.*",),
        "member": ("sites.*.read",),
        "viewer": ("sites.*.read",),
        "employee": ("sites.*.read",),
        "partner": ("sites.*.read",),
    },
    erases=(
        NotPersonal(pages, "slug", "title", "description", "settings", why=CONTENT),
        NotPersonal(pages_search.words, "word", why=CONTENT),
        NotPersonal(pages_search.typos, "key", "word", why=CONTENT),
        NotPersonal(sections, "kind", "title", "content", "style", why=CONTENT),
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
