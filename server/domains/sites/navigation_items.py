"""The navigation of a tenant's site: items, some of which stand below others."""

from plinth.sites.v1 import navigation_item_pb2
from plinth.sites.v1.navigation_item_pb2 import NavigationItem

from server.domains.sites.pages import PAGE
from server.domains.sites.tables import navigation_items
from server.kernel.call import Call
from server.kernel.problems import Violation, broken_rules
from server.kernel.queries import OrderTerm
from server.kernel.resources import ReadRows, Resource, Service, Tree

MOST = 500
LEVELS = 4


class NavigationItemService(Service[NavigationItem]):
    """Items of a tenant's navigation."""

    descriptor = navigation_item_pb2.DESCRIPTOR.services_by_name["NavigationItemService"]
    resource = Resource(
        NavigationItem,
        navigation_items,
        filterable=("id", "title", "page_id", "parent_id", "hidden", "place", "create_time", "update_time"),
        sortable=("place", "create_time"),
        default_order=(OrderTerm("place", descending=False),),
        tree=Tree("parent_id", LEVELS),
        order="place",
        most=MOST,
    )

    def __init__(self) -> None:
        super().__init__()
        self._pages = ReadRows(self, PAGE)

    def check(self, call: Call, resource: NavigationItem, before: NavigationItem | None) -> None:
        """Refuse an item that leads to two things, or to a page that is absent."""
        if resource.page_id and resource.url:
            fault = "is set beside a page: an item leads to one of them"
            raise broken_rules([Violation("navigation_item.url", fault, "navigation.target")])
        known = before or NavigationItem()
        if resource.page_id and resource.page_id != known.page_id:
            self._pages.get(call, resource.page_id)
