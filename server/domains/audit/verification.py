"""Verification: whether the audit log equals what was sealed, for `plinth audit verify` and every night.

The dispatch role reads all of it in statements of bounded size. Neither the log nor a tree is ever in memory as a
whole.
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
# Per tenant. Further findings are only counted.
MOST_FINDINGS = 1000
QUEUE = "audit-verification"
# A core verifies about 10,000 entries per second.
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
    """The numbers of items checked, and of faults."""

    tenants: int = 0
    entries: int = 0
    checkpoints: int = 0
    faults: int = 0
    is_complete: bool = True
    """Whether the time was enough for all tenants."""

    def __str__(self) -> str:
        unfinished = "" if self.is_complete else ", not all there are"
        return (
            f"{self.entries} entries and {self.checkpoints} checkpoints of {self.tenants} tenants{unfinished}: "
            f"{self.faults or 'no'} fault{'s' * (self.faults != 1)}"
        )


class OutOfTime(Exception):
    """The check has used up its time."""


class Verifier:
    """Checks the logs of tenants."""

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
        """The findings in the logs of tenants. `saved` are tree heads by tenant that were kept elsewhere."""
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
        """The findings in the logs of these tenants, or of all, and in the logs of which checkpoints were saved.

        Raises MalformedNote for a text that is no checkpoint.
        """
        saved = defaultdict(list)
        for note in notes:
            head, standing = parse(note), self._keys.standing(note)
            saved[head.tenant_id].append(head)
            if standing is not Standing.SIGNED:
                # A saved note that was signed before a rotation is as trustworthy as its holder believes.
                is_fault = standing is Standing.FORGED
                self.summary.faults += is_fault
                text = f"tenant {head.tenant_id} saved checkpoint of {head.tree_size}: is {standing.value}"
                yield Finding(text, is_fault=is_fault)
        yield from self.verify(dict.fromkeys([*(tenants or self.tenants()), *saved]), saved)

    def verify_within(self, seconds: float) -> Iterator[Finding]:
        """The findings in as many logs as time allows.

        A random start makes sure that all are checked in some nights.
        """
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
        """The tenants in the audit log by id: from `start` on, before `end`."""
        while start is not None:
            row = self._run(NEXT_TENANT, start=start).first()
            if row is None or (end is not None and row["tenant_id"] >= end):
                return
            yield row["tenant_id"]
            start = following(row["tenant_id"])

    def _run(self, statement: Statement, **parameters: object) -> Result:
        """Run a query in a transaction of its own: no snapshot gets old, and others use the connection in between."""
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
    """Checks as much as time allows every night. Logs and counts the findings."""

    def __init__(self, database: Database, keys: CheckpointKeys, clock: Clock = utc_now) -> None:
        self._database = database
        self._keys = keys
        self._clock = clock

    @property
    def schedule(self) -> Schedule:
        """The schedule: once a night."""
        return Schedule(
            "23 2 * * *", Job("audit.verify_log", self.run, QUEUE, NEVER_AGAIN, timeout=2 * NIGHTLY_SECONDS)
        )

    def run(self) -> None:
        """Check once."""
        verifier = Verifier(self._database, self._keys, self._clock)
        for finding in verifier.verify_within(NIGHTLY_SECONDS):
            log.log(logging.ERROR if finding.is_fault else logging.WARNING, "audit log: %s", finding.text)
        FAULTS.inc(verifier.summary.faults)
        log.info("audit log: %s", verifier.summary)
