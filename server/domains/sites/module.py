"""Sites: the pages of a tenant's site."""

from server.domains.sites.pages import PageService
from server.kernel.module import Module, Serve

MODULE = Module(
    "sites",
    services=(Serve(PageService, lambda platform: PageService(platform.live, platform.clock)),),
    roles={
        "editor": ("sites.*",),
        "member": ("sites.*.read",),
        "viewer": ("sites.*.read",),
        "employee": ("sites.*.read",),
        "partner": ("sites.*.read",),
    },
)
