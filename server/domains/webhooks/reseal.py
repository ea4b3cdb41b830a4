"""Resealing: after PLINTH_SECRET_KEY was rotated, secrets of webhooks are brought under the new one.

A worker does so within minutes of its start. Until then the secret before it has to stay in PLINTH_SECRET_KEY_PREVIOUS;
afterwards it can be rotated again.
"""

import logging
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.types import LargeBinary

from server.data.statements import Row, Statement
from server.data.transactions import Database, Scope
from server.domains.webhooks.secrets import SecretBox, UnknownKey
from server.kernel.jobs import MAINTENANCE_QUEUE, NEVER_AGAIN, Job, Schedule

log = logging.getLogger("plinth.webhooks")
RESEAL = "webhooks.reseal_secrets"
EVERY_TEN_MINUTES = "*/10 * * * *"
BATCH = 500
NIL = "00000000-0000-0000-0000-000000000000"

# A sealed secret begins with the 8 bytes that name its key.
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
"""Takes `keys` that need no resealing in hexadecimal, `tenant_id` and `id` of the row to go on after, and `limit`."""
# What was rotated meanwhile is left alone: it is under the current key.
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
"""Takes five lists of one length; secrets are in hexadecimal."""


class Resealer:
    """Reseals the secrets of all tenants' webhooks."""

    def __init__(self, dispatch: Database, box: SecretBox) -> None:
        """`dispatch` sees the webhooks of every tenant."""
        self._dispatch = dispatch
        self._box = box
        self._lasting = [key.hex() for key in box.lasting]

    @property
    def schedule(self) -> Schedule:
        """When workers do it."""
        return Schedule(EVERY_TEN_MINUTES, Job(RESEAL, self.run, MAINTENANCE_QUEUE, NEVER_AGAIN))

    def run(self) -> None:
        """Reseal what is not under the current key, batch by batch. What does not open stays as it is, and is told."""
        after, lost = {"tenant_id": NIL, "id": NIL}, 0
        while True:
            with self._dispatch.write(Scope()) as transaction:
                batch = transaction.run(STALE, keys=self._lasting, **after, limit=BATCH).all()
                resealed = [found for row in batch if (found := self._resealed(row))]
                if resealed:
                    tenants, ids, known, secrets, previous = map(list, zip(*resealed, strict=True))
                    transaction.run(REPLACE, tenants=tenants, ids=ids, known=known, secrets=secrets, previous=previous)
            lost += len(batch) - len(resealed)
            if len(batch) < BATCH:
                break
            after = {name: batch[-1][name] for name in after}
        if lost:
            log.error("%d secrets of webhooks open under neither PLINTH_SECRET_KEY nor the one before it", lost)

    def _resealed(self, row: Row) -> Sequence[str] | None:
        """What REPLACE takes of one webhook; None when a secret of it does not open."""
        try:
            new = [self._under_current(sealed, row["id"]) for sealed in (row["secret"], row["previous_secret"])]
        except (UnknownKey, InvalidTag):
            return None
        return (row["tenant_id"], row["id"], row["secret"].hex(), *new)

    def _under_current(self, sealed: bytes | None, webhook_id: str) -> str:
        if sealed is None:
            return ""
        return (self._box.reseal(sealed, webhook_id) or sealed).hex()
