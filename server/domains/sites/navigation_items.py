"""The navigation of a tenant's site: items, some of which stand below others."""

from collections.abc import Mapping

from plinth.sites.v1 import navigation_item_pb2
from plinth.sites.v1.navigation_item_pb2 import NavigationItem
from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Statement
from server.domains.sites.pages import PageService
from server.domains.sites.tables import navigation_items
from server.kernel.call import Call
from server.kernel.problems import Violation, broken_rules, not_found
from server.kernel.queries import OrderTerm
from server.kernel.resources import ReadRows, Resource, Service

MOST = 500
LEVELS = 4
_id = UUID(as_uuid=False)
_n = navigation_items.c
ABOVE = Statement(select(_n.id, _n.parent_id).where(_n.tenant_id == bindparam("tenant", type_=_id)))
"""Takes `tenant`. Every item with the one above it."""


class NavigationItemService(Service[NavigationItem]):
    """Items of a tenant's navigation."""

    descriptor = navigation_item_pb2.DESCRIPTOR.services_by_name["NavigationItemService"]
    resource = Resource(
        NavigationItem,
        navigation_items,
        filterable=("id", "title", "page_id", "parent_id", "hidden", "place", "create_time", "update_time"),
        sortable=("place", "create_time"),
        default_order=(OrderTerm("place", descending=False),),
        order="place",
        most=MOST,
    )

    def __init__(self) -> None:
        super().__init__()
        self._pages = ReadRows(self, PageService.resource)

    def check(self, call: Call, resource: NavigationItem, before: NavigationItem | None) -> None:
        """Refuse an item that leads to two things, to a page that is absent, or below itself."""
        if resource.page_id and resource.url:
            fault = "is set beside a page: an item leads to one of them"
            raise broken_rules([Violation("navigation_item.url", fault, "navigation.target")])
        known = before or NavigationItem()
        if resource.page_id and resource.page_id != known.page_id:
            self._pages.get(call, resource.page_id)
        if resource.parent_id and resource.parent_id.lower() != known.parent_id:
            self._check_place(call, resource, is_new=before is None)

    def _check_place(self, call: Call, resource: NavigationItem, *, is_new: bool) -> None:
        if not is_new:
            # A new item has waited for its turn, since it is placed. Two moves at once could make a circle.
            statement, parameters = self.rows.admission.turn(call, {"tenant": call.tenant_id})
            call.writes.run(statement, **parameters)
        above = {row["id"]: row["parent_id"] for row in call.writes.run(ABOVE, tenant=call.tenant_id).all()}
        parent_id = resource.parent_id.lower()
        if parent_id not in above:
            raise not_found(self.rows.type, resource.parent_id)
        line = _line(above, parent_id)
        if resource.id in line:
            fault = "is below the item itself"
            raise broken_rules([Violation("navigation_item.parent_id", fault, "parent.cycle")])
        if len(line) + _height(above, resource.id) > LEVELS:
            fault = f"would make more than {LEVELS} levels"
            raise broken_rules([Violation("navigation_item.parent_id", fault, "parent.depth")])


def _line(above: Mapping[str, str | None], item_id: str) -> list[str]:
    """An item and those above it, as far as there may be levels."""
    line: list[str] = []
    next_id: str | None = item_id
    while next_id is not None and len(line) <= LEVELS:
        line.append(next_id)
        next_id = above.get(next_id)
    return line


def _height(above: Mapping[str, str | None], item_id: str) -> int:
    """The levels of an item with those below it; 1 for one that is not stored yet."""
    lines = (_line(above, each) for each in above)
    return max((line.index(item_id) + 1 for line in lines if item_id in line), default=1)
