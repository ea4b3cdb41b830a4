"""Due rows: rows of all tenants whose time has come, each dealt with in a transaction of its own tenant.

A job of a schedule finds them and does one after the other. A row that fails is logged and left to the next run; it
stops no other one.
"""

import logging
from collections.abc import Callable

from server.data.statements import Statement
from server.data.transactions import Database, Scope

log = logging.getLogger("plinth.due")
LOOKS = 4


class DueRows:
    """Those of one kind."""

    def __init__(self, dispatch: Database, due: Statement, do: Callable[[str, str], None], what: str) -> None:
        """`due` returns some `tenant_id` and `id`, the longest due first; `dispatch` runs it over all tenants.

        `do` takes both of one. It locks the row, and does nothing if that is no longer due. `what` names it in the log.
        """
        self._dispatch, self._due, self._do, self._what = dispatch, due, do, what

    def run(self) -> None:
        """Do what is due."""
        failed: set[str] = set()
        for _ in range(LOOKS):
            with self._dispatch.read(Scope()) as transaction:
                rows = [row for row in transaction.run(self._due).all() if row["id"] not in failed]
            if not rows:
                return
            for row in rows:
                try:
                    self._do(row["tenant_id"], row["id"])
                except Exception:
                    log.exception("%s %s is due, and failed", self._what, row["id"])
                    failed.add(row["id"])
