"""Resources: what a domain tells the kernel of one, as data and as six hooks in a fixed order.

prepare > check > before_write > (statement) > after_write > present; `visible` narrows every read. When a resource
fights them, its service writes a custom method; there is no seventh hook.
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

M = TypeVar("M", bound=Message, default=Message)
"""The message of a resource. A service without a resource need not name one."""

NEWEST_FIRST: Order = (OrderTerm("create_time", descending=True),)


@dataclass(frozen=True)
class Resource(Generic[M]):
    """What the standard methods need to know of a resource beside its .proto."""

    message: type[M]
    table: Table
    filterable: tuple[str, ...] = ()
    """Fields that a filter may name. Each is indexed, or the rows of one tenant are few."""
    sortable: tuple[str, ...] = ()
    """Fields that order_by may name; not null, and each leads an index after tenant_id."""
    default_order: Order = NEWEST_FIRST
    unique: Mapping[str, str] = field(default_factory=dict)
    """Name of a unique index to the field that it keeps unique."""
    hidden: tuple[str, ...] = ()
    """Columns that the message does not show, written once with a new row: `before_write` gives their values."""
    computed: tuple[str, ...] = ()
    """Fields without a column: the hook `present`, or a custom method, fills them. Every other field has a column."""
    singleton: bool = False
    """Whether a tenant has exactly one, so that no id is named."""
    visible: ColumnElement[bool] | None = None
    """What the caller may see beyond row-level security; its parameters come from the hook `visible_parameters`."""

    @property
    def soft_deletes(self) -> bool:
        """Whether deleted rows can be brought back."""
        return "delete_time" in self.table.c


class Hooks(Generic[M]):
    """What a service may do around the standard methods. Every hook does nothing by default."""

    def prepare(self, call: Call, resource: M, before: M | None) -> None:
        """Derive fields of what is about to be stored. `before` is what is stored now; None for a new one."""

    def check(self, call: Call, resource: M, before: M | None) -> None:
        """Refuse what breaks a rule across fields or rows, by raising a problem."""

    def visible_parameters(self, call: Call) -> Row:
        """The parameters of `Resource.visible` for this caller."""
        del call
        return {}

    def before_write(self, call: Call, values: Row, before: M | None) -> None:
        """Change what is written, for columns that the message does not show. A new one has its `id` among them."""

    def after_write(self, call: Call, resource: M, before: M | None) -> None:
        """Write what belongs to the change, in the same transaction. `before` is None for a new resource."""

    def present(self, call: Call, resources: list[M]) -> None:
        """Fill in fields that are computed for the reader; one statement for all of them."""


AnyHooks = Hooks[Any]
"""Those of a service, around the rows of a resource that need not be its own."""
