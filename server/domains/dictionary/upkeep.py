"""Upkeep of searches: words that no entry has any more are not mistyped either."""

from collections.abc import Iterator

from sqlalchemy import Integer, bindparam, select, tuple_
from sqlalchemy.dialects.postgresql import UUID

from server.data.events import NO_TENANT
from server.data.statements import Statement
from server.data.transactions import Database, Scope
from server.domains.dictionary.tables import dictionaries
from server.domains.dictionary.term_rows import FORGET
from server.kernel.jobs import MAINTENANCE_QUEUE, NEVER_AGAIN, Job, Schedule

EVERY_NIGHT = "20 2 * * *"
AT_ONCE = 1_000
# Seconds. A dictionary of 200,000 entries takes some ten.
LONGEST = 3_600.0
_d = dictionaries.c
_id = UUID(as_uuid=False)
ALL = Statement(
    select(_d.tenant_id, _d.id)
    .where(tuple_(_d.tenant_id, _d.id) > tuple_(bindparam("tenant", type_=_id), bindparam("last", type_=_id)))
    .order_by(_d.tenant_id, _d.id)
    .limit(bindparam("limit", type_=Integer()))
)
"""Takes `tenant` and `last`, where those before have ended, and `limit`."""


class DictionaryUpkeep:
    """The upkeep of all dictionaries."""

    def __init__(self, dispatch: Database, database: Database) -> None:
        """`dispatch` finds them in all tenants; `database` changes each within its own."""
        self._dispatch, self._database = dispatch, database

    @property
    def schedule(self) -> Schedule:
        """Every night."""
        return Schedule(
            EVERY_NIGHT, Job("dictionary.upkeep", self.run, MAINTENANCE_QUEUE, NEVER_AGAIN, timeout=LONGEST)
        )

    def run(self) -> None:
        """Forget the words that no entry has."""
        for tenant_id, dictionary_id in self._dictionaries():
            with self._database.write(Scope(tenant_id=tenant_id)) as transaction:
                transaction.queue(FORGET, tenant=tenant_id, dictionary=dictionary_id)

    def _dictionaries(self) -> Iterator[tuple[str, str]]:
        tenant_id = last = NO_TENANT
        while True:
            with self._dispatch.read(Scope(platform=True)) as transaction:
                rows = transaction.run(ALL, tenant=tenant_id, last=last, limit=AT_ONCE).all()
            for row in rows:
                tenant_id, last = row["tenant_id"], row["id"]
                yield tenant_id, last
            if len(rows) < AT_ONCE:
                return
