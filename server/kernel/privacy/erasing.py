"""Erasing: the work of an operation that takes the decisions of all domains one after another.

Each stage is one decision in one tenant. A worker that takes over from a lost one goes on with the stage that was saved
last. Everything is looked through once more when the person has no access any more, since a call that ran meanwhile may
have written something.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from server.data.events import NO_TENANT
from server.data.transactions import WriteTransaction
from server.kernel.privacy.declaration import Erase
from server.kernel.privacy.erasure import Batches, Erasure, Person, Tally
from server.kernel.privacy.plan import Deed, Privacy
from server.kernel.privacy.statements import BATCH, count_of, step_of

Tell = Callable[[WriteTransaction, str], None]
"""Writes, in a tenant, that the person is erased."""


class Invalidates(Protocol):
    """The generations of cached answers."""

    def invalidate(self, tags: Iterable[str]) -> None:
        """Drop what is cached under these tags."""


@dataclass(frozen=True)
class Stage:
    """One decision in one tenant."""

    tenant_id: str
    deed: Deed


@dataclass(frozen=True)
class Eraser:
    """Erases persons."""

    privacy: Privacy
    generations: Invalidates

    def run(self, work: Batches, person: Person, tenant_ids: Sequence[str], *, account: bool, tell: Tell) -> int:
        """Erase a person from tenants, and the account if that is wanted too. Returns the number of rows changed.

        `tell` is called once for each tenant, after everything else.
        """
        stages = self._stages(tenant_ids, account=account)
        tally = Tally(work.saved)
        tally.plan(len(stages))
        if not tally.done:
            tally.total = sum(self._count(work, person, stage, tally) for stage in stages)
        for number in range(tally.stage, len(stages)):
            tally.begin(number, f"Erasing {stages[number].deed.table.name}")
            self._take(work, person, stages[number], tally)
        for number, tenant_id in enumerate(tenant_ids, len(stages)):
            if number < tally.stage:
                continue
            tally.begin(number)
            self.generations.invalidate(self.privacy.tags(tenant_id))
            with Erasure(work, person, tenant_id, tally).batch() as transaction:
                tell(transaction, tenant_id)
                # Saved with what it tells, which is told once.
                tally.begin(number + 1)
        return tally.rows

    def _stages(self, tenant_ids: Sequence[str], *, account: bool) -> list[Stage]:
        places = (*tenant_ids, NO_TENANT) if account else tuple(tenant_ids)
        data = [Stage(place, deed) for place in places for deed in self.privacy.deeds(place)]
        endings = [Stage(tenant_id, deed) for tenant_id in tenant_ids for deed in self.privacy.endings]
        of_account = [Stage(NO_TENANT, deed) for deed in self.privacy.of_account] if account else []
        return [*data, *endings, *of_account, *data]

    def _count(self, work: Batches, person: Person, stage: Stage, tally: Tally) -> int:
        """The number of rows that a stage has to look at."""
        deed = stage.deed
        statement = deed.count if isinstance(deed, Erase) else count_of(deed)
        if statement is None:
            return 0
        with Erasure(work, person, stage.tenant_id, tally).batch() as transaction:
            where = {"tenant": stage.tenant_id} if "tenant_id" in deed.table.c else {}
            return int(transaction.run(statement, person=person.id, **where).one()["rows"])

    def _take(self, work: Batches, person: Person, stage: Stage, tally: Tally) -> None:
        deed = stage.deed
        erasure = Erasure(work, person, stage.tenant_id, tally, self.privacy.owned)
        if isinstance(deed, Erase):
            deed.run(erasure)
        else:
            _step(erasure, deed)
        if erasure.stale_tags:
            self.generations.invalidate(erasure.stale_tags)


def _step(erasure: Erasure, deed: Deed) -> None:
    """Erase one batch after another until one of them is not full."""
    changed = BATCH
    while changed == BATCH:
        with erasure.batch() as transaction:
            where = {"tenant": erasure.tenant_id} if "tenant_id" in deed.table.c else {}
            changed = transaction.run(step_of(deed), person=erasure.person.id, **where).count
            erasure.note(changed, changed)
