"""Resources: the declaration of a resource by its domain, as data and as five hooks in a fixed order.

prepare > check > before_write > (statement) > after_write > present. If a resource does not fit them, its service
writes a custom method; there is no sixth hook.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic

from google.protobuf.message import Message
from sqlalchemy import ColumnElement, Table
from typing_extensions import TypeVar

from server.data.statements import Row
from server.kernel.call import Call
from server.kernel.messages.fields import value_of
from server.kernel.queries.pages import Order, OrderTerm
from server.kernel.search.declaration import Search

M = TypeVar("M", bound=Message, default=Message)
"""The message of a resource. A service without a resource may omit it."""

NEWEST_FIRST: Order = (OrderTerm("create_time", descending=True),)
EVERYONE = "-"
"""In the owner field of a list request: everyone's (AIP-159)."""


@dataclass(frozen=True)
class Parent:
    """The resource to which others belong, such as the page of a section.

    A new one needs a parent that the caller may see and that is not deleted. Deletion and undeletion follow the parent.
    """

    field: str
    """The field of the parent's id, in the message, in requests that name it, and as a column."""
    resource: "Resource[Any]"
    is_open: bool = False
    """Whether everyone who sees a parent with an owner may add to it, and owns what they add, such as a comment.
    Otherwise only those who may change the parent do, and its owner owns all of it."""


@dataclass(frozen=True)
class Tree:
    """How those of one type stand below each other."""

    field: str
    """The field, and column, with the id of the one above. Those at the top have none."""
    levels: int
    """Largest number of levels."""


@dataclass(frozen=True)
class States:
    """The states of a resource, and the actions that change them.

    An RPC that is named like an action, such as `CancelTrip` for `cancel`, needs no code. An update may change the
    field only as some action does.
    """

    field: str
    """An enum. If it is OUTPUT_ONLY, only RPCs change it."""
    first: tuple[int, ...]
    """The states in which a resource may begin. The first of them is that of one that names none."""
    actions: Mapping[str, tuple[tuple[int, ...], int]]
    """Action to the states from which it is allowed, and the state to which it leads."""


@dataclass(frozen=True)
class Shown:
    """What everyone sees who may read the resource, such as what is published. The rest is seen with `seen_by`."""

    field: str
    """An enum, and the column of it."""
    values: tuple[int, ...]

    def holds(self, message: Message) -> bool:
        """Whether a resource is shown to everyone."""
        return value_of(message, self.field) in self.values


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
    """Whether a tenant has exactly one, so that requests name no id. With an owner, every user has one; with a parent,
    every parent."""
    where: ColumnElement[bool] | None = None
    """A condition that all rows meet which callers see, beyond row-level security."""
    owner: str = ""
    """The field, and column, with the user whose it is: the caller who made it. Others do not change it, and see no
    more of it than is `shown`."""
    seen_by: str = ""
    """The permission with which a caller sees and changes what others own, or what is not shown to everyone."""
    shown: Shown | None = None
    """What is seen without `seen_by`, beside what the caller owns."""
    keys_own: bool = False
    """Whether an API key owns what it makes. Otherwise only people own some."""
    parent: Parent | None = None
    tree: Tree | None = None
    order: str = ""
    """The field, and column, with the place among its siblings, counted from 1. `Reorder<Plural>` changes it."""
    most: int = 0
    """Largest number of them that are not deleted: of a parent, else of an owner, else of a tenant. 0: no limit."""
    number: str = ""
    """The field, and column, with a number that people read: counted from 1 in each tenant, without gaps."""
    states: States | None = None
    search: Search | None = None
    """The fields whose words `q` of its List finds."""

    @property
    def is_narrowed(self) -> bool:
        """Whether the caller decides which rows of the tenant are seen."""
        return bool(self.owner or self.shown)

    @property
    def is_one_per_tenant(self) -> bool:
        """Whether the tenant alone identifies it."""
        return self.singleton and not self.owner and not self.parent

    @property
    def soft_deletes(self) -> bool:
        """Whether deleted rows can be restored."""
        return "delete_time" in self.table.c


AnyResource = Resource[Any]
"""The declaration of any resource."""


class Hooks(Generic[M]):
    """The extension points of a service around the standard methods. By default, hooks do nothing."""

    def prepare(self, call: Call, resource: M, before: M | None) -> None:
        """Derive fields of a resource before it is stored. `before` is the stored one; None for a new resource."""

    def check(self, call: Call, resource: M, before: M | None) -> None:
        """Raise a problem if a rule across fields or rows is broken."""

    def before_write(self, call: Call, values: Row, before: M | None) -> None:
        """Change the values to write, for columns that the message does not show. A new resource has its `id`."""

    def after_write(self, call: Call, resource: M, before: M | None) -> None:
        """Write further rows of the change in the same transaction. `before` is None for a new resource."""

    def present(self, call: Call, resources: list[M]) -> None:
        """Fill in fields that are computed for the reader, with one statement for all resources."""


AnyHooks = Hooks[Any]
"""The hooks of a service, for rows of any resource."""
