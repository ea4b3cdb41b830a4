"""Reach: the rows of a resource that a call may see or change, within its tenant.

A caller without the permission `Resource.seen_by` sees only what they own, or what is shown to everyone, and changes
only what they own. A request that names a parent reaches only its children, and what belongs to a parent is not seen
without it. Each form of a statement is described when it is first used.
"""

from collections.abc import Callable
from typing import NamedTuple

from sqlalchemy import ColumnElement, bindparam, literal_column, or_, true
from sqlalchemy.sql import ClauseElement

from server.data.statements import Statement
from server.kernel.resources.resource import AnyResource


class Reach(NamedTuple):
    """The conditions beside the tenant.

    A statement takes `owner_id` if `own`, `parent_id` if `inside`, `of_id` if `of`, and `above_id` if `above_own`.
    """

    own: bool = False
    """Only what one user owns."""
    inside: bool = False
    """Only what belongs to one parent."""
    shown: bool = False
    """Only what is shown to everyone; with `own`, one of both."""
    of: bool = False
    """Of what is reached, only that of one owner."""
    above_own: bool = False
    """Only what belongs to a parent that one user owns."""
    above_shown: bool = False
    """Only what belongs to a parent that is shown to everyone; with `above_own`, to one of both."""


EVERYTHING = Reach()


class Reaching:
    """A statement with one form for each reach."""

    __slots__ = ("_describe", "_forms")

    def __init__(self, describe: Callable[[Reach], ClauseElement]) -> None:
        self._describe = describe
        self._forms: dict[Reach, Statement] = {}

    def to(self, reach: Reach) -> Statement:
        """The form for this reach. Two threads that make it at once get equal statements."""
        form = self._forms.get(reach)
        if form is None:
            form = self._forms[reach] = Statement(lambda: self._describe(reach))
        return form


def is_seen(resource: AnyResource, parameter: str, *, own: bool, shown: bool) -> ColumnElement[bool]:
    """The condition that a row is shown to everyone, or the own one of the user in a parameter."""
    columns = resource.table.c
    either: list[ColumnElement[bool]] = []
    if shown and resource.shown is not None:
        values: list[ColumnElement[int]] = [literal_column(str(value)) for value in resource.shown.values]
        either.append(columns[resource.shown.field].in_(values))
    if own:
        owner = columns[resource.owner]
        either.append(owner == bindparam(parameter, type_=owner.type))
    return or_(*either) if either else true()
