"""Reading with the access that a caller has now, in calls without a transaction of their own, such as streams."""

from collections.abc import Callable
from typing import TypeVar

from server.data.transactions import Database, ReadTransaction, ScopeEnded
from server.kernel.call import Call
from server.kernel.problems import Conflict

T = TypeVar("T")
DECISIONS = 3
"""Attempts, if access changes meanwhile."""


class CurrentAccess:
    """Reads for calls that last."""

    def __init__(self, database: Database, recheck: Callable[[Call], None]) -> None:
        """`recheck` raises a problem if the caller no longer has access; otherwise it renews the call's access."""
        self._database, self._recheck = database, recheck

    def read(self, call: Call, work: Callable[[ReadTransaction], T]) -> T:
        """Do something in a transaction of its own, which checks session and access of the call. Blocks."""
        for _ in range(DECISIONS):
            try:
                with self._database.read(call.scope) as transaction:
                    call.transaction = transaction
                    return work(transaction)
            except ScopeEnded as ended:
                if ended.what != "access":
                    raise
                self._recheck(call)
        raise Conflict
