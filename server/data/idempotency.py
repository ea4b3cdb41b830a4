"""Answers of calls with an idempotency key, stored in the transaction of their effect.

A record is found by a keyed hash of tenant, caller, method and key, and its answer is encrypted. The table reveals
neither who called what, nor the answer (a new API key, for example).
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    LargeBinary,
    SmallInteger,
    bindparam,
    delete,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import insert

from server.data.statements import Statement
from server.data.tables import global_table, time_column

idempotency_records = global_table(
    "idempotency_records",
    Column("id", LargeBinary, primary_key=True),
    Column("request_hash", LargeBinary, nullable=False),
    Column("http_status", SmallInteger, nullable=False),
    Column("answer", LargeBinary, nullable=False),
    time_column("expire_time"),
)
Index("idempotency_records_expire_time_idx", idempotency_records.c.expire_time)

_columns = idempotency_records.c
_id = bindparam("id", type_=_columns.id.type)
_now = bindparam("now", type_=_columns.expire_time.type)
CLAIM = Statement(
    select(
        func.plinth_claim_key(bindparam("lock", type_=BigInteger()), _id, _now, type_=LargeBinary()).label("claimed")
    )
)
"""Takes `lock`, `id` and `now`. Fails (KeyTaken) if the key has a record, or if another call with it is running.
Otherwise the rest of the transaction is the first call with this key. Writes nothing, which readers of the event log
would wait for."""
TRY_LOCK = Statement(
    select(func.pg_try_advisory_xact_lock(bindparam("lock", type_=BigInteger()), type_=Boolean()).label("mine"))
)
"""Takes `lock`. Returns whether no other call with this key is running; holds the lock until the transaction ends."""
FIND = Statement(
    select(_columns.request_hash, _columns.http_status, _columns.answer).where(
        _columns.id == _id, _columns.expire_time > _now
    )
)
"""Takes `id` and `now`."""
_WRITTEN = ("request_hash", "http_status", "answer", "expire_time")
_keep = insert(idempotency_records).values({n: bindparam(n, type_=_columns[n].type) for n in ("id", *_WRITTEN)})
KEEP = Statement(
    _keep.on_conflict_do_update(index_elements=["id"], set_={name: _keep.excluded[name] for name in _WRITTEN})
)
"""Takes `id` and the record. Replaces a record that has expired, because its writer has claimed the key."""
PURGE = Statement(delete(idempotency_records).where(_columns.expire_time < _now))
"""Takes `now`."""
