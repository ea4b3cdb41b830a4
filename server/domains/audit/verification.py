"""Verification: whether the audit log is what was sealed, for `plinth audit verify` and every night.

All of it is read with the dispatch role, in statements of bounded size: neither the log nor a tree ever is in memory.
"""

import logging
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from uuid import UUID

from sqlalchemy import text as sql_text
from sqlalchemy.dialects import postgresql

from server.data.connections import Result
from server.data.statements import Statement
from server.data.transactions import Database, Scope
from server.domains.audit.checkpoints import CheckpointKeys, Standing, TreeHead, parse
from server.domains.audit.sealing import FAULTS
from server.domains.audit.tree_check import Finding, TreeCheck
from server.domains.audit.trees import LOWEST_ID, following
from server.kernel.clock import Clock, utc_now
from server.kernel.jobs import NEVER_AGAIN, Job, Schedule

log = logging.getLogger("plinth.audit")
# Of each tenant's log; how many more there are is told by their number.
MOST_FINDINGS = 1000
QUEUE = "audit-verification"
# A core verifies some 10,000 entries in a second.
NIGHTLY_SECONDS = 3600.0
NEXT_TENANT = Statement(
    sql_text(
        """SELECT tenant_id
             FROM ((SELECT tenant_id FROM audit_entries WHERE tenant_id >= CAST(:start AS uuid) ORDER BY 1 LIMIT 1)
                    UNION ALL
                   (SELECT tenant_id FROM audit_leaves WHERE tenant_id >= CAST(:start AS uuid) ORDER BY 1 LIMIT 1)
                    UNION ALL
                   (SELECT tenant_id FROM audit_checkpoints WHERE tenant_id >= CAST(:start AS uuid) ORDER BY 1 LIMIT 1)
                  ) AS known
            ORDER BY tenant_id
            LIMIT 1"""
    ).columns(tenant_id=postgresql.UUID(as_uuid=False))
)


@dataclass(slots=True)
class Summary:
    """What was looked at, and how often something was wrong."""

    tenants: int = 0
    entries: int = 0
    checkpoints: int = 0
    faults: int = 0
    is_complete: bool = True
    """Whether the time sufficed for all."""

    def __str__(self) -> str:
        unfinished = "" if self.is_complete else ", not all there are"
        return (
            f"{self.entries} entries and {self.checkpoints} checkpoints of {self.tenants} tenants{unfinished}: "
            f"{self.faults or 'no'} fault{'s' * (self.faults != 1)}"
        )


class OutOfTime(Exception):
    """The check has taken as long as it may."""


class Verifier:
    """Checks tenants' logs."""

    def __init__(self, database: Database, keys: CheckpointKeys, clock: Clock = utc_now) -> None:
        self._database = database
        self._keys = keys
        self._clock = clock
        self.summary = Summary()

    def verify(
        self,
        tenants: Iterable[str],
        saved: Mapping[str, Sequence[TreeHead]] | None = None,
        pause: Callable[[], None] = lambda: None,
    ) -> Iterator[Finding]:
        """What is wrong with the logs of tenants; `saved` are tree heads by tenant that were kept elsewhere."""
        for tenant_id in tenants:
            kept = (saved or {}).get(tenant_id, ())
            check = TreeCheck(self._run, tenant_id, self._keys, now=self._clock(), saved=kept, pause=pause)
            try:
                yield from self._bounded(tenant_id, check.findings())
            finally:
                self.summary.tenants += 1
                self.summary.entries += check.entries
                self.summary.checkpoints += check.checkpoints

    def verify_with(self, notes: Iterable[str], tenants: Collection[str] = ()) -> Iterator[Finding]:
        """What is wrong with the logs of these tenants, or of all, and of those that saved checkpoints are of.

        Raises MalformedNote for what is no checkpoint.
        """
        saved = defaultdict(list)
        for note in notes:
            head, standing = parse(note), self._keys.standing(note)
            saved[head.tenant_id].append(head)
            if standing is not Standing.SIGNED:
                # One of before a rotation is as good as who saved it thinks it is.
                is_fault = standing is Standing.FORGED
                self.summary.faults += is_fault
                text = f"tenant {head.tenant_id} saved checkpoint of {head.tree_size}: is {standing.value}"
                yield Finding(text, is_fault=is_fault)
        yield from self.verify(dict.fromkeys([*(tenants or self.tenants()), *saved]), saved)

    def verify_within(self, seconds: float) -> Iterator[Finding]:
        """As many tenants' logs as this time suffices for, from one at random on, so that in some nights all are."""
        deadline = monotonic() + seconds

        def pause() -> None:
            if monotonic() > deadline:
                raise OutOfTime

        start = str(UUID(bytes=os.urandom(16)))
        try:
            yield from self.verify(self.tenants(start), pause=pause)
            yield from self.verify(self.tenants(LOWEST_ID, start), pause=pause)
        except OutOfTime:
            self.summary.is_complete = False

    def tenants(self, start: str | None = LOWEST_ID, end: str | None = None) -> Iterator[str]:
        """Those that the audit log knows, by their id: from `start` on, before `end`."""
        while start is not None:
            row = self._run(NEXT_TENANT, start=start).first()
            if row is None or (end is not None and row["tenant_id"] >= end):
                return
            yield row["tenant_id"]
            start = following(row["tenant_id"])

    def _run(self, statement: Statement, **parameters: object) -> Result:
        """Run a query as a transaction of its own: no snapshot grows old, and others use the connection in between."""
        with self._database.read(Scope()) as transaction:
            return transaction.run(statement, **parameters)

    def _bounded(self, tenant_id: str, findings: Iterable[Finding]) -> Iterator[Finding]:
        told = 0
        for finding in findings:
            told += 1
            self.summary.faults += finding.is_fault
            if told <= MOST_FINDINGS:
                yield finding._replace(text=f"tenant {tenant_id} {finding.text}")
        if told > MOST_FINDINGS:
            yield Finding(f"tenant {tenant_id} {told - MOST_FINDINGS} more", is_fault=False)


class NightlyCheck:
    """Checks, every night, as much as there is time for; logs what is wrong, and counts it."""

    def __init__(self, database: Database, keys: CheckpointKeys, clock: Clock = utc_now) -> None:
        self._database = database
        self._keys = keys
        self._clock = clock

    @property
    def schedule(self) -> Schedule:
        """When it does so."""
        return Schedule(
            "23 2 * * *", Job("audit.verify_log", self.run, QUEUE, NEVER_AGAIN, timeout=2 * NIGHTLY_SECONDS)
        )

    def run(self) -> None:
        """Do it once."""
        verifier = Verifier(self._database, self._keys, self._clock)
        for finding in verifier.verify_within(NIGHTLY_SECONDS):
            log.log(logging.ERROR if finding.is_fault else logging.WARNING, "audit log: %s", finding.text)
        FAULTS.inc(verifier.summary.faults)
        log.info("audit log: %s", verifier.summary)
