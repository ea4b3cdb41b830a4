"""Blobs: the bytes of equal files, stored once, and what they take of what the tenant may store."""

from typing import NamedTuple

from sqlalchemy import ARRAY, BigInteger, Integer, Text, bindparam, func, select
from sqlalchemy.dialects.postgresql import UUID, insert

from server.data.statements import Statement
from server.data.transactions import WriteTransaction
from server.domains.files.contents import StoredContent
from server.domains.files.tables import file_blobs, storage_usage
from server.kernel.problems import limit_reached

MEGABYTE = 1024 * 1024
_id = UUID(as_uuid=False)
_tenant = bindparam("tenant", type_=_id)
_b = file_blobs.c
KEEP_BLOB = Statement(
    insert(file_blobs)
    .values(
        tenant_id=_tenant,
        id=bindparam("blob", type_=_id),
        digest=bindparam("digest", type_=Text()),
        size=bindparam("size", type_=BigInteger()),
        stored_bytes=bindparam("stored_bytes", type_=BigInteger()),
        copies=bindparam("copies", type_=ARRAY(Integer())),
        copy_sizes=bindparam("copy_sizes", type_=ARRAY(Integer())),
    )
    # So that nothing removes it before an asset names it.
    .on_conflict_do_update(index_elements=[_b.tenant_id, _b.digest], set_={"used_time": func.now()})
    .returning(_b.id, _b.copies)
)
"""Takes the columns of a blob. Returns the one with this digest."""
_u = storage_usage.c
_new = insert(storage_usage).values(
    tenant_id=_tenant, id=_tenant, stored_bytes=bindparam("stored_bytes", type_=BigInteger())
)
ADD_USAGE = Statement(
    _new.on_conflict_do_update(
        index_elements=[_u.tenant_id, _u.id], set_={"stored_bytes": _u.stored_bytes + _new.excluded.stored_bytes}
    ).returning(_u.stored_bytes)
)
"""Takes `tenant` and `stored_bytes`. Returns what is stored with it; calls at the same time wait for each other."""
USAGE = Statement(select(_u.stored_bytes).where(_u.tenant_id == _tenant, _u.id == _tenant))
"""Takes `tenant`."""


class Blob(NamedTuple):
    """The stored bytes of a file."""

    id: str
    is_new: bool
    """Whether no equal file was stored before."""
    copies: list[int]
    """Longest edges of the copies that are stored."""


def keep_blob(transaction: WriteTransaction, tenant_id: str, stored: StoredContent, most_megabytes: int) -> Blob:
    """Keep what was stored, unless an equal file is kept already. Raises StateForbids if it is more than allowed."""
    [found] = transaction.run(
        KEEP_BLOB,
        tenant=tenant_id,
        blob=stored.blob_id,
        digest=stored.digest,
        size=stored.size,
        stored_bytes=stored.stored_bytes,
        copies=list(stored.copies),
        copy_sizes=list(stored.copy_sizes),
    ).all()
    if found["id"] != stored.blob_id:
        return Blob(found["id"], is_new=False, copies=found["copies"])
    used = transaction.run(ADD_USAGE, tenant=tenant_id, stored_bytes=stored.stored_bytes).value()
    if most_megabytes and int(str(used)) > most_megabytes * MEGABYTE:
        raise limit_reached(f"The files of a tenant may take {most_megabytes} MB.", most_megabytes)
    return Blob(stored.blob_id, is_new=True, copies=found["copies"])
