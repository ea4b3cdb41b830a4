"""Resealing: after a rotation of PLINTH_SECRET_KEY, secrets of webhooks are sealed under the new one.

A worker does so at its start, and then every ten minutes, because machines that still use the previous secret keep
sealing with it. The previous secret must stay in PLINTH_SECRET_KEY_PREVIOUS until `plinth_webhook_stale_secrets` is 0
on all machines of the new secret.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from cryptography.exceptions import InvalidTag
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.types import LargeBinary

from server.data.statements import Row, Statement
from server.data.transactions import Database, Scope
from server.domains.webhooks.metrics import STALE_SECRETS
from server.domains.webhooks.secrets import SecretBox, UnknownKey
from server.kernel.jobs import MAINTENANCE_QUEUE, NEVER_AGAIN, Job, Schedule

log = logging.getLogger("plinth.webhooks")
RESEAL = "webhooks.reseal_secrets"
EVERY_TEN_MINUTES = "*/10 * * * *"
BATCH = 500
NIL = "00000000-0000-0000-0000-000000000000"

# A sealed secret begins with the 8-byte id of its key.
STALE = Statement(
    text(
        """
SELECT tenant_id, id, secret, previous_secret
  FROM webhooks
 WHERE (encode(substr(secret, 1, 8), 'hex') <> ALL (CAST(:keys AS text[]))
        OR encode(substr(previous_secret, 1, 8), 'hex') <> ALL (CAST(:keys AS text[])))
   AND (tenant_id, id) > (CAST(:tenant_id AS uuid), CAST(:id AS uuid))
 ORDER BY webhooks.tenant_id, webhooks.id
 LIMIT CAST(:limit AS bigint)
"""
    ).columns(
        tenant_id=UUID(as_uuid=False), id=UUID(as_uuid=False), secret=LargeBinary(), previous_secret=LargeBinary()
    )
)
"""Takes `keys` that need no resealing in hexadecimal, `tenant_id` and `id` of the last row seen, and `limit`."""
# A secret that was rotated in the meantime is skipped: it is under the current key.
REPLACE = Statement(
    text(
        """
UPDATE webhooks
   SET secret = decode(n.secret, 'hex'), previous_secret = decode(nullif(n.previous, ''), 'hex')
  FROM unnest(CAST(:tenants AS uuid[]), CAST(:ids AS uuid[]), CAST(:known AS text[]), CAST(:secrets AS text[]),
              CAST(:previous AS text[])) AS n (tenant_id, id, known, secret, previous)
 WHERE webhooks.tenant_id = n.tenant_id AND webhooks.id = n.id AND webhooks.secret = decode(n.known, 'hex')
"""
    )
)
"""Takes five lists of equal length; secrets are in hexadecimal."""


class Resealer:
    """Reseals the secrets of all tenants' webhooks."""

    def __init__(self, dispatch: Database, box: SecretBox) -> None:
        """`dispatch` sees the webhooks of all tenants."""
        self._dispatch = dispatch
        self._box = box
        self._lasting = [key.hex() for key in box.lasting]

    @property
    def schedule(self) -> Schedule:
        """The schedule of workers."""
        return Schedule(EVERY_TEN_MINUTES, Job(RESEAL, self.run, MAINTENANCE_QUEUE, NEVER_AGAIN))

    def at_start(self, threads: Executor) -> "FirstReseal":
        """A service that reseals as soon as a worker runs."""
        return FirstReseal(self.run, threads)

    def run(self) -> None:
        """Reseal secrets that are not under the current key, batch by batch.

        Those that do not open are counted and logged.
        """
        after, lost, done = {"tenant_id": NIL, "id": NIL}, 0, 0
        while True:
            with self._dispatch.write(Scope()) as transaction:
                batch = transaction.run(STALE, keys=self._lasting, **after, limit=BATCH).all()
                resealed = [found for row in batch if (found := self._resealed(row))]
                if resealed:
                    tenants, ids, known, secrets, previous = map(list, zip(*resealed, strict=True))
                    transaction.run(REPLACE, tenants=tenants, ids=ids, known=known, secrets=secrets, previous=previous)
            done += len(resealed)
            lost += len(batch) - len(resealed)
            if len(batch) < BATCH:
                break
            after = {name: batch[-1][name] for name in after}
        STALE_SECRETS.set(lost)
        if done:
            log.info("%d secrets of webhooks were brought under PLINTH_SECRET_KEY; %d are left", done, lost)
        if lost:
            log.error("%d secrets of webhooks open under none of PLINTH_SECRET_KEY, _PREVIOUS and _NEXT", lost)

    def _resealed(self, row: Row) -> Sequence[str] | None:
        """The parameters of REPLACE for one webhook; None if one of its secrets does not open."""
        try:
            new = [self._under_current(sealed, row["id"]) for sealed in (row["secret"], row["previous_secret"])]
        except (UnknownKey, InvalidTag):
            return None
        return (row["tenant_id"], row["id"], row["secret"].hex(), *new)

    def _under_current(self, sealed: bytes | None, webhook_id: str) -> str:
        if sealed is None:
            return ""
        return (self._box.reseal(sealed, webhook_id) or sealed).hex()


class FirstReseal:
    """A background service that reseals once. After a failure it is run again."""

    def __init__(self, run: Callable[[], None], threads: Executor) -> None:
        self._run = run
        self._threads = threads
        self._is_done = False

    async def run(self) -> None:
        """Reseal, then wait until cancelled."""
        if not self._is_done:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._run)
            self._is_done = True
        await asyncio.Event().wait()
