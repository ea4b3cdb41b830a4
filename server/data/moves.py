"""Moves: what is to be done at an outside provider, from the intent to the outcome (server/kernel/providers/moves.py).

A row is written before the provider is called, in the transaction of the call that wants it. Times are compared by
PostgreSQL, so that processes with different clocks agree on who may act.
"""

from sqlalchemy import (
    ARRAY,
    Boolean,
    Column,
    Index,
    Integer,
    Interval,
    SmallInteger,
    Text,
    and_,
    any_,
    bindparam,
    case,
    false,
    func,
    insert,
    literal_column,
    null,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB

from server.data.statements import Statement
from server.data.tables import tenant_table, time_column

PENDING, DONE, REFUSED, UNKNOWN = 1, 2, 3, 4

moves = tenant_table(
    "moves",
    # Such as `payments.charge`. The id of a row is the reference under which the provider knows it.
    Column("name", Text, nullable=False),
    Column("state", SmallInteger, nullable=False),
    # What to do. Ids rather than personal data, and no secrets.
    Column("arguments", JSONB, nullable=False),
    # What came of it, once that is known.
    Column("result", JSONB),
    Column("code", Text, nullable=False, server_default=text("''")),
    # Counts who has acted: an outcome is written only by the last of them, unless it is a fact.
    Column("attempt", Integer, nullable=False, server_default=text("1")),
    # Until when somebody acts, or until when nobody looks.
    time_column("busy_time"),
    # Until when something may have been sent; null if surely nothing was.
    time_column("sent_time", nullable=True),
    time_column("settle_time", nullable=True),
)
_c = moves.c
Index("moves_due_idx", _c.busy_time, postgresql_where=_c.settle_time.is_(None))
Index("moves_settle_time_idx", _c.settle_time)

_tenant, _id = bindparam("tenant_id", type_=_c.tenant_id.type), bindparam("id", type_=_c.id.type)
_lease, _pause = bindparam("lease", type_=Interval()), bindparam("pause", type_=Interval())
_attempt, _state = bindparam("attempt", type_=Integer()), bindparam("state", type_=SmallInteger())
_DONE, _REFUSED = literal_column(str(DONE), SmallInteger()), literal_column(str(REFUSED), SmallInteger())
_is_open = and_(_c.tenant_id == _tenant, _c.id == _id, _c.settle_time.is_(None))
_changed = {"update_time": func.now(), "version": _c.version + text("1")}

BEGIN = Statement(
    insert(moves).values(
        tenant_id=_tenant,
        id=_id,
        name=bindparam("name", type_=Text()),
        arguments=bindparam("arguments", type_=JSONB()),
        state=literal_column(str(PENDING), SmallInteger()),
        busy_time=func.now() + _lease,
        sent_time=func.now() + _lease,
    )
)
"""Takes `tenant_id`, `id`, `name`, `arguments` and `lease`: how long its writer may act."""
CLAIM = Statement(
    update(moves)
    .where(_is_open, _c.busy_time <= func.now())
    .values(attempt=_c.attempt + text("1"), busy_time=func.now() + _lease, **_changed)
    .returning(
        _c.state,
        _c.arguments,
        _c.attempt,
        _c.sent_time.is_not(None).label("was_sent"),
        func.coalesce(_c.sent_time + bindparam("appears", type_=Interval()) > func.now(), false()).label("may_appear"),
        (_c.create_time + bindparam("expires", type_=Interval()) < func.now()).label("has_expired"),
    )
)
"""Takes `tenant_id`, `id`, `lease`, `appears` and `expires`. No row if it is settled, or somebody else acts."""
SENDING = Statement(
    update(moves)
    .where(_is_open, _c.attempt == _attempt)
    .values(busy_time=func.now() + _lease, sent_time=func.now() + _lease, **_changed)
    .returning(_c.id)
)
"""Takes `tenant_id`, `id`, `attempt` and `lease`. No row if somebody else acts by now."""
WRITE = Statement(
    update(moves)
    .where(_is_open, or_(_c.attempt == _attempt, _state == _DONE))
    .values(
        state=_state,
        result=bindparam("result", type_=JSONB()),
        code=bindparam("code", type_=Text()),
        busy_time=func.now() + _pause,
        sent_time=case((bindparam("was_sent", type_=Boolean()), _c.sent_time), else_=null()),
        settle_time=case((or_(_state == _DONE, _state == _REFUSED), func.now()), else_=null()),
        **_changed,
    )
    .returning(_c.id)
)
"""Takes `tenant_id`, `id`, `attempt`, `state`, `result`, `code`, `pause` and `was_sent`. No row if it is settled, or if
somebody else acts by now and this outcome is none that stands whatever they find."""
DUE = Statement(
    select(_c.tenant_id, _c.name, _c.id)
    .where(
        _c.settle_time.is_(None),
        _c.busy_time <= func.now(),
        _c.name == any_(bindparam("names", type_=ARRAY(Text()))),
    )
    .order_by(_c.busy_time)
    .limit(bindparam("limit", type_=Integer()))
)
"""Takes `names` and `limit`. Those of all tenants that nobody acts on, for the role for work across tenants."""
