"""Cleaning up: uploads that nobody goes on with, bytes that no asset names, and objects that no row names."""

import logging
from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import groupby

from sqlalchemy import ARRAY, BigInteger, DateTime, Integer, and_, bindparam, column, delete, exists, func, select, text
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Row, Statement
from server.data.transactions import Database, Scope
from server.domains.files.object_keys import BLOBS, UPLOADS, WORK, blob_keys, named_by
from server.domains.files.object_store import ObjectStore, StoredObject
from server.domains.files.tables import asset_uploads, assets, file_blobs
from server.domains.files.work_files import KEPT as WORK_KEPT
from server.kernel.clock import Clock
from server.kernel.jobs import MAINTENANCE_QUEUE, Job, Schedule

log = logging.getLogger("plinth.files")
EVERY_HOUR, EVERY_NIGHT = "47 * * * *", "23 3 * * *"
AT_ONCE = 200
MOST_BATCHES = 500
"""At a time, so that the job ends. The next hour goes on."""
QUIET = timedelta(hours=1)
"""For which a blob that no asset names is left: its call may not be over."""
UNNAMED_FOR = timedelta(days=1)
"""For which an object that no row names is left. Longer than any upload takes."""
_id = UUID(as_uuid=False)
_u, _b, _a = asset_uploads.c, file_blobs.c, assets.c
_limit = bindparam("limit", type_=Integer())
_expired = select(_u.tenant_id, _u.id).where(_u.expire_time < func.now()).order_by(_u.expire_time).limit(_limit)
_ended = _expired.cte("ended")
END_UPLOADS = Statement(
    delete(assets)
    .where(_a.tenant_id == _ended.c.tenant_id, _a.id == _ended.c.id, _a.blob_id.is_(None))
    .returning(_a.tenant_id, _a.id)
)
"""Takes `limit`. Assets whose upload has expired; the upload goes with its asset."""
_unnamed = (
    select(_b.tenant_id, _b.id)
    .where(
        _b.used_time < bindparam("before", type_=DateTime(timezone=True)),
        ~exists().where(_a.tenant_id == _b.tenant_id, _a.blob_id == _b.id),
    )
    .order_by(_b.used_time)
    .limit(_limit)
    # Not those that a call is about to name again.
    .with_for_update(skip_locked=True, of=file_blobs)
    .cte("unnamed")
)
END_BLOBS = Statement(
    delete(file_blobs)
    .where(_b.tenant_id == _unnamed.c.tenant_id, _b.id == _unnamed.c.id)
    .returning(_b.tenant_id, _b.id, _b.copies, _b.stored_bytes)
)
"""Takes `before` and `limit`."""
LESSEN_USAGE = Statement(
    text(
        "UPDATE storage_usage SET stored_bytes = greatest(0, stored_bytes - CAST(:bytes AS bigint)) "
        "WHERE tenant_id = CAST(:tenant AS uuid)"
    ).bindparams(bindparam("tenant", type_=_id), bindparam("bytes", type_=BigInteger()))
)
"""Takes `tenant` and `bytes`."""
_asked = (
    func.unnest(bindparam("tenants", type_=ARRAY(_id)), bindparam("ids", type_=ARRAY(_id)))
    .table_valued(column("tenant_id", _id), column("id", _id))
    .render_derived(name="asked")
)
KNOWN = {
    kind: Statement(
        select(table.c.id).join(_asked, and_(table.c.tenant_id == _asked.c.tenant_id, table.c.id == _asked.c.id))
    )
    for kind, table in ((BLOBS, file_blobs), (UPLOADS, asset_uploads))
}
"""By kind of key: which of the rows that `tenants` and `ids` name are there."""


class CleanUp:
    """Removes what nothing leads to: rows every hour, objects every night, as it takes a look at each."""

    def __init__(self, dispatch: Database, store: ObjectStore, clock: Clock, *, queue: str = MAINTENANCE_QUEUE) -> None:
        """`dispatch` reads and deletes rows of all tenants."""
        self._dispatch, self._store, self._clock, self._queue = dispatch, store, clock, queue

    @property
    def schedules(self) -> tuple[Schedule, ...]:
        """When it does what."""
        return (
            Schedule(EVERY_HOUR, Job("files.clean_up", self.end_rows, self._queue)),
            Schedule(EVERY_NIGHT, Job("files.sweep", self.sweep, self._queue)),
        )

    def end_rows(self) -> None:
        """Rows first: an object without a row is found again, but a row without its object is a broken file."""
        self._end_uploads()
        self._end_blobs()

    def sweep(self) -> None:
        """Remove old objects without a row."""
        for kind in (BLOBS, UPLOADS):
            self._sweep(kind)
        self._end_work_files()

    def _end_uploads(self) -> None:
        """Their parts are swept."""
        for _ in range(MOST_BATCHES):
            with self._dispatch.write(Scope()) as transaction:
                ended = transaction.run(END_UPLOADS, limit=AT_ONCE).all()
            if len(ended) < AT_ONCE:
                return

    def _end_blobs(self) -> None:
        for _ in range(MOST_BATCHES):
            with self._dispatch.write(Scope()) as transaction:
                ended = transaction.run(END_BLOBS, before=self._clock() - QUIET, limit=AT_ONCE).all()
                for tenant_id, taken in _by_tenant(ended):
                    transaction.queue(LESSEN_USAGE, tenant=tenant_id, bytes=taken)
            self._store.delete([key for row in ended for key in blob_keys(row["tenant_id"], row["id"], row["copies"])])
            if len(ended) < AT_ONCE:
                return

    def _sweep(self, kind: str) -> None:
        """Remove old objects of one kind whose row is gone, such as those of a tenant that was removed."""
        before = self._clock() - UNNAMED_FOR
        for found in self._store.list(kind):
            old = [each for each in found if each.modify_time < before]
            lost = self._without_row(kind, old)
            if lost:
                log.info("%d objects below %s have no row, and are removed", len(lost), kind)
                self._store.delete(lost)

    def _end_work_files(self) -> None:
        """No row names them: they go by their age."""
        before = self._clock() - WORK_KEPT
        for found in self._store.list(WORK):
            self._store.delete([each.key for each in found if each.modify_time < before])

    def _without_row(self, kind: str, found: Sequence[StoredObject]) -> list[str]:
        named = {each.key: row for each in found if (row := named_by(each.key)) is not None}
        if not named:
            return []
        with self._dispatch.read(Scope()) as transaction:
            asked = sorted(set(named.values()))
            tenants, ids = [row.tenant_id for row in asked], [row.id for row in asked]
            rows = transaction.run(KNOWN[kind], tenants=tenants, ids=ids).all()
        known = {row["id"] for row in rows}
        return [key for key, row in named.items() if row.id not in known]


def _by_tenant(rows: Iterable[Row]) -> Iterable[tuple[str, int]]:
    """What the rows of each tenant took, always in one order, so that two of these never wait for each other."""
    ordered = sorted(rows, key=lambda row: str(row["tenant_id"]))
    for tenant_id, own in groupby(ordered, key=lambda row: str(row["tenant_id"])):
        yield tenant_id, sum(row["stored_bytes"] for row in own)
