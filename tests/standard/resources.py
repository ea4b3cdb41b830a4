"""The resources that the standard-method suite runs against. A new resource gets the whole suite by one entry here."""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from google.protobuf.message import Message
from plinth.sites.v1 import page_pb2

from tests.clients import Tenant, unique


@dataclass(frozen=True)
class Described:
    """One resource of tenants, as its .proto has it."""

    singular: str
    plural: str
    """Also its path below the tenant, and the name of its stub in clients.Stubs."""
    module: ModuleType
    """The generated module with its messages."""
    body: Callable[[], dict[str, Any]]
    """A new one as JSON, with a unique value of its own, `key` and `text` included."""
    key: str
    """The field that is unique in a tenant: required, text, sortable."""
    text: str
    """A text field that may be empty, is sortable and can be updated and filtered."""
    other: str
    """Another text field that may be empty."""
    free_form: str
    """A Struct field."""
    enum: tuple[str, str, str]
    """An enum field, the short name of the value a new one has, and that of another value."""
    unset_time: str
    """A time field that a new one has not got."""
    move: Callable[[Tenant, str], object]
    """Gives the one with this id the other enum value, and that time."""
    sortable: tuple[str, ...]
    unsortable: str
    """A field that order_by refuses."""
    unfilterable: str
    """A field that filter refuses."""
    resource_type: str
    output_only: dict[str, Any]
    """Output-only fields with values that nobody may write."""

    @property
    def name(self) -> str:
        """As in GetPage."""
        return self.singular.capitalize()

    @property
    def message(self) -> type[Message]:
        """Its message."""
        found: type[Message] = getattr(self.module, self.name)
        return found

    def request(self, verb: str, plural: bool = False, **fields: Any) -> Any:  # noqa: FBT001, FBT002 - ListPages
        """The request of a standard method: `request("Get", ...)` is a GetPageRequest."""
        noun = self.plural.capitalize() if plural else self.name
        return getattr(self.module, f"{verb}{noun}Request")(**fields)


def _page() -> dict[str, Any]:
    return {
        "slug": unique("page"),
        "title": "A page",
        "description": "What it is about.",
        "settings": {"layout": "wide", "columns": [1, 2.5, {"deep": None}], "on": True},
    }


def _publish(tenant: Tenant, page_id: str) -> object:
    return tenant.stubs.pages.PublishPage(page_pb2.PublishPageRequest(tenant_id=tenant.id, page_id=page_id))


PAGES = Described(
    singular="page",
    plural="pages",
    module=page_pb2,
    body=_page,
    key="slug",
    text="title",
    other="description",
    free_form="settings",
    enum=("status", "DRAFT", "PUBLISHED"),
    unset_time="publishTime",
    move=_publish,
    sortable=("create_time", "update_time", "slug", "title"),
    unsortable="description",
    unfilterable="description",
    resource_type="plinth.dev/Page",
    output_only={
        "id": "01890000-0000-7000-8000-000000000000",
        "tenantId": "01890000-0000-7000-8000-000000000000",
        "status": "STATUS_PUBLISHED",
        "publishTime": "2001-01-01T00:00:00Z",
        "createTime": "2001-01-01T00:00:00Z",
        "updateTime": "2001-01-01T00:00:00Z",
        "deleteTime": "2001-01-01T00:00:00Z",
    },
)

RESOURCES = (PAGES,)
