"""What becomes of a table when a person is erased, and what of it a person's export holds.

Every table has a decision, and so has every column that may hold personal data (decisions.py). A domain declares them
in its module.py, as `Module(erases=..., exports=...)`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Table

from server.data.clauses import AnyExpression
from server.data.statements import Statement

if TYPE_CHECKING:
    from server.kernel.privacy.erasure import Erasure

ERASED = "erased"
"""Stands in a text that may not be empty."""


@dataclass(frozen=True)
class Owner:
    """The rows of a person in another table, to which rows belong that do not name the person themselves."""

    table: Table
    by: str = "user_id"
    """The column with the person."""


@dataclass(frozen=True)
class Remove:
    """The rows of the person are deleted."""

    table: Table
    by: str = "user_id"
    """The column with the person; with `of`, the column with the id of the person's row. An index begins with it."""
    of: Owner | None = None
    where: ColumnElement[bool] | None = None
    """A condition that the rows meet besides."""


@dataclass(frozen=True, init=False)
class Pseudonymise:
    """Columns of the person's rows are emptied, and the facts in the others stay.

    A column that may be NULL becomes NULL. Another one becomes its default, such as `''`, or else `erased`. The id of
    the person stays, and is a pseudonym once the account is erased.
    """

    table: Table
    columns: tuple[str, ...]
    by: str
    """As with Remove."""
    of: Owner | None

    def __init__(self, table: Table, *columns: str, by: str = "user_id", of: Owner | None = None) -> None:
        for name, value in (("table", table), ("columns", columns), ("by", by), ("of", of)):
            object.__setattr__(self, name, value)


@dataclass(frozen=True, kw_only=True)
class Erase:
    """A function of the domain erases what the others cannot say."""

    table: Table
    columns: tuple[str, ...]
    """The columns that it empties."""
    run: Callable[["Erasure"], None]
    """Works in batches. What it does twice is done once."""
    count: Statement | None = None
    """Counts the rows that it looks at. Takes `tenant` and `person`."""
    without_tenant: bool = False
    """Whether the table also has rows that belong to no tenant, as the logs have."""
    ends_access: bool = False
    """Whether it takes the person's access away. It then comes after everything else of the tenant."""


@dataclass(frozen=True, init=False)
class NotPersonal:
    """Columns that look as if they could hold personal data, and do not."""

    table: str
    columns: tuple[str, ...]
    why: str

    def __init__(self, table: Table | str, *columns: str, why: str) -> None:
        for name, value in (("table", str(table)), ("columns", columns), ("why", why)):
            object.__setattr__(self, name, value)


class Kept(NotPersonal):
    """Columns with personal data that stays, for a reason that weighs more."""


Decision = Remove | Pseudonymise | Erase | NotPersonal


@dataclass(frozen=True)
class Export:
    """The rows of the person are a section of the person's export."""

    table: Table
    by: str = "user_id"
    """As with Remove."""
    of: Owner | None = None
    leave_out: tuple[str, ...] = ()
    """Columns that nobody is shown, such as the hash of a password."""
    instead: tuple[tuple[str, AnyExpression], ...] = ()
    """Columns of which only a part is shown: their names, and the part as an expression of JSON."""
    order: tuple[str, ...] = ()
    """The columns that sort the rows and tell them apart, where an index has them after `by`. Otherwise those of the
    primary key."""
