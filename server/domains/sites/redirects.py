"""Redirects of a tenant's site: addresses that lead to another one."""

from plinth.sites.v1 import redirect_pb2
from plinth.sites.v1.redirect_pb2 import Redirect

from server.domains.sites.pages import PAGE
from server.domains.sites.tables import redirects
from server.kernel.call import Call
from server.kernel.problems import Violation, broken_rules
from server.kernel.resources import ReadRows, Resource, Service

MOST = 5_000


class RedirectService(Service[Redirect]):
    """Redirects."""

    descriptor = redirect_pb2.DESCRIPTOR.services_by_name["RedirectService"]
    resource = Resource(
        Redirect,
        redirects,
        filterable=("id", "path", "page_id", "create_time", "update_time"),
        sortable=("create_time", "path"),
        unique={"redirects_path_key": "path"},
        most=MOST,
    )

    def __init__(self) -> None:
        super().__init__()
        self._pages = ReadRows(self, PAGE)

    def check(self, call: Call, resource: Redirect, before: Redirect | None) -> None:
        """Refuse a redirect that leads to two things, to itself, or to a page that is absent."""
        if resource.page_id and resource.url:
            raise _wrong("is set beside a page: a redirect leads to one of them")
        if resource.url == resource.path:
            raise _wrong("leads to the address itself")
        if resource.page_id and (before is None or resource.page_id != before.page_id):
            self._pages.get(call, resource.page_id)


def _wrong(fault: str) -> Exception:
    return broken_rules([Violation("redirect.url", fault, "redirect.target")])
