"""Resources: the declaration of a resource by its domain, as data and as six hooks in a fixed order.

prepare > check > before_write > (statement) > after_write > present; `visible` narrows every read. If a resource does
not fit them, its service writes a custom method; there is no seventh hook.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic

from google.protobuf.message import Message
from sqlalchemy import ColumnElement, Table
from typing_extensions import TypeVar

from server.data.statements import Row
from server.kernel.call import Call
from server.kernel.queries.pages import Order, OrderTerm
from server.kernel.search.declaration import Search

M = TypeVar("M", bound=Message, default=Message)
"""The message of a resource. A service without a resource may omit it."""

NEWEST_FIRST: Order = (OrderTerm("create_time", descending=True),)


@dataclass(frozen=True)
class Resource(Generic[M]):
    """The facts about a resource that the standard methods need beside its .proto."""

    message: type[M]
    table: Table
    filterable: tuple[str, ...] = ()
    """Fields that a filter may name. Each is indexed, unless a tenant has few rows."""
    sortable: tuple[str, ...] = ()
    """Fields that order_by may name. They are not null, and each leads an index after tenant_id."""
    default_order: Order = NEWEST_FIRST
    unique: Mapping[str, str] = field(default_factory=dict)
    """Names of unique indexes, each with the field that it keeps unique."""
    hidden: tuple[str, ...] = ()
    """Columns that the message does not show, written once with a new row. `before_write` provides their values."""
    computed: tuple[str, ...] = ()
    """Fields without a column. The hook `present`, or a custom method, fills them. Every other field has a column."""
    singleton: bool = False
    """Whether a tenant has exactly one, so that requests name no id."""
    visible: ColumnElement[bool] | None = None
    """A condition beyond row-level security for what the caller may see. `visible_parameters` gives its parameters."""
    search: Search | None = None
    """The fields whose words `q` of its List finds."""

    @property
    def soft_deletes(self) -> bool:
        """Whether deleted rows can be restored."""
        return "delete_time" in self.table.c


class Hooks(Generic[M]):
    """The extension points of a service around the standard methods. By default, hooks do nothing."""

    def prepare(self, call: Call, resource: M, before: M | None) -> None:
        """Derive fields of a resource before it is stored. `before` is the stored one; None for a new resource."""

    def check(self, call: Call, resource: M, before: M | None) -> None:
        """Raise a problem if a rule across fields or rows is broken."""

    def visible_parameters(self, call: Call) -> Row:
        """The parameters of `Resource.visible` for this caller."""
        del call
        return {}

    def before_write(self, call: Call, values: Row, before: M | None) -> None:
        """Change the values to write, for columns that the message does not show. A new resource has its `id`."""

    def after_write(self, call: Call, resource: M, before: M | None) -> None:
        """Write further rows of the change in the same transaction. `before` is None for a new resource."""

    def present(self, call: Call, resources: list[M]) -> None:
        """Fill in fields that are computed for the reader, with one statement for all resources."""


AnyHooks = Hooks[Any]
"""The hooks of a service, for rows of any resource."""
