"""Reach: the rows of a resource that a call may see or change, within its tenant.

A caller without the permission `Resource.seen_by` reaches only what they own. A request that names a parent reaches
only its children. Each form of a statement is described when it is first used.
"""

from collections.abc import Callable
from typing import NamedTuple

from sqlalchemy.sql import ClauseElement

from server.data.statements import Statement


class Reach(NamedTuple):
    """The conditions beside the tenant. A statement takes `owner_id` if `own`, and `parent_id` if `inside`."""

    own: bool = False
    """Only what one user owns."""
    inside: bool = False
    """Only what belongs to one parent."""


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
