"""Upkeep of searches: the words of resources that were stored before, and words that no resource has any more.

A resource says under which version its words were made. When a search is new, or its fields or the folding of words
change, workers make the words again: at their start, and every night for what earlier versions of Plinth still wrote.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from threading import Event
from typing import Any

from sqlalchemy import Integer, bindparam, exists, select

from server.data.clauses import AnySelect
from server.data.statements import Statement
from server.data.tables import metadata
from server.data.transactions import Database, Scope
from server.kernel.jobs import MAINTENANCE_QUEUE, NEVER_AGAIN, Job, Schedule
from server.kernel.resources import ConversionPlan, Resource
from server.kernel.resources.rows import id_of
from server.kernel.search.declaration import MARK, Search
from server.kernel.search.postings import Postings

log = logging.getLogger("plinth.search")
EVERY_NIGHT = "50 1 * * *"
RESOURCES_AT_ONCE = 50
TENANTS_AT_ONCE = 1_000
NIL = "00000000-0000-0000-0000-000000000000"
# Seconds. The words of a tenant take a second per 50,000 resources.
LONGEST = 3_600.0


class Searched:
    """One resource with a search."""

    def __init__(self, resource: Resource[Any], search: Search) -> None:
        self.name = resource.table.name
        self._resource = resource
        self._search = search
        self._plan = ConversionPlan(resource.message, resource.table, resource.hidden, resource.computed)
        self._postings = Postings(search)
        self._stale = Statement(self._without_words)

    def make_words(self, database: Database, tenant: str, stopped: Event) -> int:
        """Make the words of a tenant's resources that have none under the present version. Returns their number."""
        made = 0
        while not stopped.is_set() and (count := self._make_some(database, tenant)):
            made += count
        return made

    def tidy(self, database: Database, tenant: str) -> None:
        """Remove the words that no resource of a tenant has any more."""
        with database.write(Scope(tenant)) as transaction:
            self._postings.tidy(transaction, tenant)

    def _make_some(self, database: Database, tenant: str) -> int:
        version = {"mark": MARK, "version": self._search.mark}
        with database.write(Scope(tenant)) as transaction:
            found = transaction.run(self._stale, tenant=tenant, **version, limit=RESOURCES_AT_ONCE)
            messages = [self._plan.message(found.raw(row)) for row in range(found.returned)]
            if messages:
                words = [(id_of(message), self._postings.of(message)) for message in messages]
                self._postings.replace(transaction, tenant, words)
        return len(messages)

    def _without_words(self) -> AnySelect:
        table, words = self._resource.table, self._search.tables.words
        is_marked = exists().where(
            words.c.tenant_id == table.c.tenant_id,
            words.c.resource_id == table.c.id,
            words.c.word == bindparam("mark", type_=words.c.word.type),
            words.c.weight == bindparam("version", type_=words.c.weight.type),
        )
        own = table.c.tenant_id == bindparam("tenant", type_=table.c.tenant_id.type)
        alive = [table.c.delete_time.is_(None)] if self._resource.soft_deletes else []
        stale = select(*self._plan.columns).where(own, *alive, ~is_marked).order_by(table.c.id)
        limited = stale.limit(bindparam("limit", type_=Integer()))
        # A call that holds the lock of a row writes its words itself.
        return limited.with_for_update(of=table, skip_locked=True)


class SearchUpkeep:
    """The upkeep of all searches."""

    def __init__(self, database: Database, resources: Iterable[Resource[Any] | None]) -> None:
        """`database` is that of the runtime role: each tenant's rows are read and written as that tenant's."""
        self._database = database
        self._stopped = Event()
        self._searched = [Searched(each, each.search) for each in resources if each is not None and each.search]
        tenants = metadata.tables["tenants"]
        after = bindparam("after", type_=tenants.c.id.type)
        self._tenants = Statement(
            select(tenants.c.id).where(tenants.c.id > after).order_by(tenants.c.id).limit(TENANTS_AT_ONCE)
        )

    @property
    def schedule(self) -> Schedule:
        """Every night."""
        return Schedule(EVERY_NIGHT, Job("search.upkeep", self.run, MAINTENANCE_QUEUE, NEVER_AGAIN, timeout=LONGEST))

    def at_start(self, threads: Executor) -> "FirstUpkeep":
        """A service that makes missing words as soon as a worker runs."""
        return FirstUpkeep(self, threads)

    def stop(self) -> None:
        """End soon. What is left is done by the next worker that starts."""
        self._stopped.set()

    def run(self) -> None:
        """Make the words that are missing, and remove those that no resource has any more."""
        for tenant in self._all_tenants():
            for searched in self._searched:
                self._make_words(searched, tenant)
                searched.tidy(self._database, tenant)

    def make_words(self) -> None:
        """Make the words that are missing."""
        for tenant in self._all_tenants():
            for searched in self._searched:
                self._make_words(searched, tenant)

    def _make_words(self, searched: Searched, tenant: str) -> None:
        made = searched.make_words(self._database, tenant, self._stopped)
        if made:
            log.info("the words of %d %s of tenant %s were made", made, searched.name, tenant)

    def _all_tenants(self) -> Iterator[str]:
        after = NIL
        while not self._stopped.is_set():
            with self._database.read(Scope(platform=True)) as transaction:
                found = [row["id"] for row in transaction.run(self._tenants, after=after).all()]
            yield from found
            if len(found) < TENANTS_AT_ONCE:
                return
            after = found[-1]


class FirstUpkeep:
    """A background service that makes missing words once. After a failure it is run again."""

    def __init__(self, upkeep: SearchUpkeep, threads: Executor) -> None:
        self._upkeep = upkeep
        self._threads = threads
        self._is_done = False

    async def run(self) -> None:
        """Make them, then wait until cancelled."""
        try:
            if not self._is_done:
                await asyncio.get_running_loop().run_in_executor(self._threads, self._upkeep.make_words)
                self._is_done = True
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            # A thread is not cancelled, and would keep the process from ending.
            self._upkeep.stop()
            raise
