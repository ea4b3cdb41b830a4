"""Sites: the pages of a tenant's site, and their sections."""

from server.domains.sites.pages import PageService
from server.domains.sites.sections import SectionService
from server.kernel.module import Module, Serve

MODULE = Module(
    "sites",
    services=(Serve(PageService, lambda platform: PageService(platform.live, platform.clock)), SectionService),
    roles={
        "editor": ("sites.*",),
        "member": ("sites.*.read",),
        "viewer": ("sites.*.read",),
        "employee": ("sites.*.read",),
        "partner": ("sites.*.read",),
    },
)
