"""Chains of API keys: keys that were made with other keys.

A key that is made with another key is bounded by its maker: in permissions, expiry and calls per minute. It inherits
the maker's expiry and rate limit unless it asks for less. Its calls count against the limits of all its ancestors, and
it ends when one of them is revoked. Each key records the user at the origin of its chain.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from math import inf

from google.protobuf.timestamp_pb2 import Timestamp
from plinth.identity.v1.api_key_pb2 import ApiKey
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Text,
    any_,
    bindparam,
    cast,
    exists,
    func,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import UUID, aggregate_order_by

from server.data.clauses import AnyExpression
from server.data.statements import Row, Statement
from server.domains.identity.tables import api_keys
from server.kernel.call import Call, Principal
from server.kernel.guard import Permissions
from server.kernel.ports import UserGrants
from server.kernel.problems import Denied, Reason, Unauthenticated, limit_reached
from server.kernel.resources import ConversionPlan

MAKING = "identity.api_keys.create"
"""The permission to make keys."""
# Keys between a key and the user at its origin. Each is checked when a descendant is used.
MOST_ANCESTORS = 8
# Stored times are precise to the microsecond, a float of today to a quarter of one.
ROUNDING = 1e-6

_uuid = UUID(as_uuid=False)
_keys = api_keys.c
_ancestors = api_keys.alias("ancestors")
_above = (_ancestors.c.tenant_id == _keys.tenant_id, _ancestors.c.id == any_(_keys.ancestor_ids))
_tenant = bindparam("tenant", type_=_uuid)
_id = bindparam("api_key_id", type_=_uuid)

CHAIN_LIVES: ColumnElement[bool] = ~exists(literal_column("1")).where(*_above, _ancestors.c.revoke_time.is_not(None))
"""Whether no ancestor of the key has been revoked."""


def _of_paced_ancestors(column: AnyExpression, name: str) -> AnyExpression:
    ordered = aggregate_order_by(cast(column, Text), _ancestors.c.id)
    found = select(func.array_agg(ordered)).where(*_above, _ancestors.c.calls_per_minute > text("0"))
    return cast(found.correlate(api_keys).scalar_subquery(), ARRAY(Text)).label(name)


PACED_ANCESTORS = (
    _of_paced_ancestors(_ancestors.c.id, "paced_ids"),
    _of_paced_ancestors(_ancestors.c.calls_per_minute, "paces"),
)
"""The ancestors with a rate limit of their own: ids, and calls per minute as text, in the same order."""

# A revocation takes its key FOR UPDATE. It waits for this lock, and then finds the key that is being made.
_chain = select(func.array_append(_ancestors.c.ancestor_ids, _ancestors.c.id)).where(
    _ancestors.c.tenant_id == _tenant, _ancestors.c.id == _id
)
LOCK_CHAIN = Statement(
    select(_keys.id, _keys.ancestor_ids, _keys.origin_user_id, _keys.revoke_time)
    .where(_keys.tenant_id == _tenant, _keys.id == any_(cast(_chain.scalar_subquery(), ARRAY(_uuid))))
    .order_by(_keys.id)
    .with_for_update(read=True, key_share=True)
)
"""Takes `tenant` and `api_key_id`. Returns the key and its ancestors."""


class Chains:
    """Records and bounds keys that are made with keys."""

    def __init__(self, plan: ConversionPlan[ApiKey], permissions: Permissions, grants: UserGrants) -> None:
        """`plan` converts rows of API keys."""
        self._plan = plan
        self._permissions = permissions
        self._grants = grants
        self._revoke_descendants = Statement(
            update(api_keys)
            .where(_keys.tenant_id == _tenant, _keys.ancestor_ids.contains(bindparam("ids", type_=ARRAY(_uuid))))
            .where(_keys.revoke_time.is_(None))
            .values(
                revoke_time=bindparam("moment", type_=_keys.revoke_time.type),
                version=_keys.version + text("1"),
                update_time=func.now(),
            )
            .returning(*plan.columns)
        )

    def record(self, call: Call, key: ApiKey) -> None:
        """Record the maker of a key, and set what the key inherits."""
        caller = call.caller
        key.create_user_id = key.origin_user_id = caller.user_id
        if not caller.api_key_id:
            return
        key.create_api_key_id = caller.api_key_id
        chain = {row["id"]: row for row in call.writes.run(LOCK_CHAIN, **_named(call, caller.api_key_id)).all()}
        maker = chain.get(caller.api_key_id)
        if maker is None or any(row["revoke_time"] for row in chain.values()):
            raise Unauthenticated("The API key has been revoked.", reason=Reason.REASON_API_KEY_ENDED)
        key.origin_user_id = maker["origin_user_id"]
        key.ancestor_ids.extend([*maker["ancestor_ids"], caller.api_key_id])
        if len(key.ancestor_ids) > MOST_ANCESTORS:
            raise limit_reached(f"A key goes back to a person over {MOST_ANCESTORS} keys at most.", MOST_ANCESTORS)
        _inherit(key, call)

    def check_may_grant(self, call: Call, key: ApiKey) -> None:
        """Refuse a key with a later expiry or a higher rate than the calling key. Raises Denied."""
        until, pace = _end_of(call), _pace_of(call.caller)
        own_end = _seconds(key.expire_time) if key.HasField("expire_time") else inf
        if own_end > until + ROUNDING:
            latest = datetime.fromtimestamp(until, UTC).isoformat()
            raise _exceeds("expire_time", f"your key works until {latest}", latest)
        if pace and not 0 < key.calls_per_minute <= pace:
            raise _exceeds("calls_per_minute", f"your key makes {pace} calls per minute", str(pace))

    def revoke_descendants(self, call: Call, key: ApiKey) -> None:
        """Revoke all descendants of a key that was just revoked, with an event for each."""
        moment = key.revoke_time.ToDatetime(UTC)
        result = call.writes.run(self._revoke_descendants, tenant=call.tenant_id, ids=[key.id], moment=moment)
        for after in self._plan.messages(result):
            before = ApiKey()
            before.CopyFrom(after)
            before.ClearField("revoke_time")
            call.note_change(before, after)
            call.emit("api_key.revoked", after.id, after)

    def note_excess(self, call: Call, keys: Iterable[ApiKey]) -> None:
        """Set for each key whether the user at its origin could no longer make it."""
        living = [key for key in keys if key.origin_user_id and not key.HasField("revoke_time")]
        if not living:
            return
        held = self._grants.of_users(call, sorted({key.origin_user_id for key in living}))
        for key in living:
            # Permissions that no longer exist are ignored.
            needed = {MAKING, *self._permissions.of((), key.permissions)}
            key.exceeds_origin = not needed <= held.get(key.origin_user_id, frozenset())


def ancestor_paces(row: Row) -> tuple[tuple[str, int], ...]:
    """The result of PACED_ANCESTORS in the form of Principal."""
    return tuple(zip(row["paced_ids"] or (), map(int, row["paces"] or ()), strict=True))


def _inherit(key: ApiKey, call: Call) -> None:
    until = _end_of(call)
    if until < inf and not key.HasField("expire_time"):
        key.expire_time.FromMicroseconds(round(until * 1e6))
    key.calls_per_minute = key.calls_per_minute or _pace_of(call.caller)


def _end_of(call: Call) -> float:
    """Unix time at which the calling key, or the secret that was shown, expires; infinite for users."""
    if not call.caller.api_key_id or call.access is None:
        return inf
    return min(call.caller.expires_at, call.access.expires_at)


def _pace_of(caller: Principal) -> int:
    """Calls per minute of a key, by its own limit and those of its ancestors; 0 without a limit."""
    return min((calls for _, calls in caller.paces), default=0)


def _seconds(moment: Timestamp) -> float:
    return moment.seconds + moment.nanos / 1e9


def _exceeds(field: str, limit: str, most: str) -> Denied:
    return Denied(
        f"Nobody grants what they lack themselves: {limit}.",
        reason=Reason.REASON_GRANT_EXCEEDS_OWN,
        metadata={"field": field, "most": most},
    )


def _named(call: Call, api_key_id: str) -> dict[str, str | None]:
    return {"tenant": call.tenant_id, "api_key_id": api_key_id}
