"""Stored access: whether a caller's session and tenant still exist, and which permissions the caller has.

It joins tables of two domains. It is therefore beside app.py, which passes it to the data layer and the kernel.
"""

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from math import inf

import psycopg
from plinth.tenancy.v1.tenant_pb2 import Tenant
from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Integer,
    LargeBinary,
    Text,
    and_,
    any_,
    bindparam,
    case,
    cast,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import UUID

from server.data.connections import DatabaseUnavailable
from server.data.statements import Row, Statement
from server.data.transactions import ANY_VERSION, Database, Scope
from server.domains.identity.api_key_chains import CHAIN_LIVES, PACED_ANCESTORS, ancestor_paces
from server.domains.identity.tables import api_keys, sessions, users
from server.domains.tenancy.tables import memberships, roles, tenants
from server.json_values import JsonObject
from server.kernel.call import Access, Call, Principal
from server.kernel.guard.access import Permissions
from server.kernel.problems import Reason, Unauthenticated

log = logging.getLogger("plinth.access")

_uuid = UUID(as_uuid=False)
_session = bindparam("session", type_=_uuid)
_access = bindparam("access", type_=BigInteger())
_session_lives = exists(literal_column("1")).where(sessions.c.id == _session, sessions.c.end_time.is_(None))
_tenant = func.nullif(bindparam("tenant", type_=Text()), literal_column("''"))


def _word(word: str) -> ColumnElement[str]:
    return literal_column(f"'{word}'", Text())


_tenant_lives = and_(
    tenants.c.delete_time.is_(None), tenants.c.status == literal_column(str(int(Tenant.STATUS_ACTIVE)))
)
# One read of the tenant's row answers both questions.
_tenant_state = (
    select(
        case(
            (or_(_access.is_(None), _access == literal_column(str(ANY_VERSION))), _word("")),
            (tenants.c.access_version == _access, _word("")),
            else_=_word("access"),
        )
    )
    .where(
        tenants.c.id == cast(_tenant, _uuid),
        _tenant_lives,
    )
    .scalar_subquery()
)

GONE: ColumnElement[str] = case(
    (and_(_session.is_(None), _access.is_(None)), _word("")),
    (and_(_session.is_not(None), ~_session_lives), _word("session")),
    (_tenant.is_not(None), func.coalesce(_tenant_state, _word("tenant"))),
    else_=_word(""),
)
"""Takes `session`, `tenant` and `access`.

`session` or `tenant` if that has ended, `access` if the tenant's access has changed since that version, else empty.
Empty without a session and a version.
"""

NOTHING = Statement(select(literal(1).label("one")))
"""Does nothing beyond the binding that every transaction begins with."""

ACCESS_CHANGED = Statement(
    update(tenants)
    .where(tenants.c.id == cast(_tenant, _uuid))
    .values(access_version=tenants.c.access_version + text("1"))
)
"""Takes `tenant`. Access that was granted under the previous version is checked again."""

TENANT_AT = Statement(
    select(tenants.c.id).where(
        tenants.c.subdomain == bindparam("subdomain", type_=tenants.c.subdomain.type), tenants.c.delete_time.is_(None)
    )
)
"""Takes `subdomain`."""

_user = bindparam("user_id", type_=_uuid)
_granted = func.unnest(roles.c.permissions).table_valued("permission").render_derived()
_custom = (
    select(func.array_agg(_granted.c.permission))
    .select_from(roles.join(_granted, true()))
    .where(roles.c.tenant_id == tenants.c.id, roles.c.name == func.any(memberships.c.roles))
    .correlate(tenants, memberships)
    .scalar_subquery()
)
MEMBER_ACCESS = Statement(
    select(
        tenants.c.access_version,
        tenants.c.subdomain,
        memberships.c.roles,
        cast(_custom, ARRAY(Text)).label("custom"),
    )
    .select_from(
        tenants.outerjoin(memberships, and_(memberships.c.tenant_id == tenants.c.id, memberships.c.user_id == _user))
    )
    .where(tenants.c.id == cast(_tenant, _uuid))
)
"""Takes `tenant` and `user_id`."""

IS_PLATFORM = Statement(
    select(users.c.id).where(users.c.id == _user, users.c.is_platform, users.c.delete_time.is_(None))
)
"""Takes `user_id`. One row for a platform administrator."""

_owner = bindparam("owner", type_=_uuid)
OWNER = Statement(
    select(
        select(users.c.is_platform)
        .where(users.c.id == _owner, users.c.delete_time.is_(None))
        .scalar_subquery()
        .label("is_platform"),
        select(api_keys.c.secret_hash)
        .where(api_keys.c.tenant_id == cast(_tenant, _uuid), api_keys.c.id == _owner)
        .scalar_subquery()
        .label("secret_hash"),
    )
)
"""Takes `tenant` and `owner`. Of a user, whether it administers the platform; of an API key, the hash of its secret."""

_shown = bindparam("key_hash", type_=LargeBinary())
_secret_counts = or_(
    api_keys.c.secret_hash == _shown,
    and_(api_keys.c.previous_hash == _shown, api_keys.c.previous_expire_time > func.now()),
)
_key_lives = and_(
    api_keys.c.revoke_time.is_(None),
    CHAIN_LIVES,
    or_(api_keys.c.expire_time.is_(None), api_keys.c.expire_time > func.now()),
)
KEY_ACCESS = Statement(
    select(
        tenants.c.access_version,
        tenants.c.subdomain,
        api_keys.c.permissions,
        _secret_counts.label("counts"),
        _tenant_lives.label("lives"),
        case((api_keys.c.secret_hash != _shown, api_keys.c.previous_expire_time)).label("until"),
    )
    .select_from(api_keys.join(tenants, tenants.c.id == api_keys.c.tenant_id))
    .where(
        api_keys.c.tenant_id == cast(_tenant, _uuid),
        api_keys.c.id == bindparam("api_key_id", type_=_uuid),
        _key_lives,
    )
)
"""Takes `tenant`, `api_key_id` and `key_hash`. No row for a key that has ended."""


KEY_GRANTS = Statement(
    select(api_keys.c.id, api_keys.c.name, api_keys.c.permissions, api_keys.c.calls_per_minute, *PACED_ANCESTORS).where(
        api_keys.c.tenant_id == cast(_tenant, _uuid),
        api_keys.c.id == bindparam("api_key_id", type_=_uuid),
        _key_lives,
    )
)
"""Takes `tenant` and `api_key_id`."""


USER_GRANTS = Statement(
    select(users.c.id, users.c.is_platform, memberships.c.roles, cast(_custom, ARRAY(Text)).label("custom"))
    .select_from(
        users.join(tenants, tenants.c.id == cast(_tenant, _uuid)).outerjoin(
            memberships, and_(memberships.c.tenant_id == tenants.c.id, memberships.c.user_id == users.c.id)
        )
    )
    .where(users.c.id == any_(bindparam("user_ids", type_=ARRAY(_uuid))), users.c.delete_time.is_(None))
)
"""Takes `tenant` and `user_ids`."""


class UserGrants:
    """The permissions of users in a tenant, for domains that do not own memberships."""

    def __init__(self, permissions: Permissions) -> None:
        self._permissions = permissions

    def of_users(self, call: Call, user_ids: Collection[str]) -> Mapping[str, frozenset[str]]:
        """The current permissions of each of these users in the call's tenant, without users who are gone."""
        rows = call.reads.run(USER_GRANTS, tenant=call.tenant_id, user_ids=list(user_ids)).all()
        return {row["id"]: self._of(row) for row in rows}

    def _of(self, row: Row) -> frozenset[str]:
        if row["is_platform"]:
            return self._permissions.every
        return self._permissions.of(row["roles"] or (), row["custom"] or ())


class KeyGrants:
    """The permissions of API keys, for domains that do not own keys."""

    def of(self, call: Call, api_key_id: str) -> Row | None:
        """Name, permissions and paces of a valid API key of the call's tenant, or None."""
        row = call.reads.run(KEY_GRANTS, tenant=call.tenant_id, api_key_id=api_key_id).first()
        if row is None:
            return None
        own = ((row["id"], row["calls_per_minute"]),) if row["calls_per_minute"] else ()
        return {"name": row["name"], "permissions": row["permissions"], "paces": (*ancestor_paces(row), *own)}


FALLEN = Statement(
    text(
        f"""
        SELECT asked.place
          FROM json_to_recordset(CAST(:asked AS json)) AS asked (
                   place integer, session_id uuid, tenant_id uuid, version bigint,
                   user_id uuid, roles text, api_key_id uuid, permission text)
         WHERE (session_id IS NOT NULL AND NOT EXISTS (
                   SELECT FROM sessions s WHERE s.id = asked.session_id AND s.end_time IS NULL))
            OR (tenant_id IS NOT NULL AND NOT EXISTS (
                   SELECT FROM tenants t
                    WHERE t.id = asked.tenant_id AND t.delete_time IS NULL AND t.status = {int(Tenant.STATUS_ACTIVE)}
                      AND coalesce(t.access_version = asked.version, true)))
            OR (roles IS NOT NULL AND NOT EXISTS (
                   SELECT FROM memberships m
                    WHERE m.tenant_id = asked.tenant_id AND m.user_id = asked.user_id
                      AND array_to_string(m.roles, ',') = asked.roles))
            OR (api_key_id IS NOT NULL AND NOT EXISTS (
                   SELECT FROM api_keys k
                    WHERE k.tenant_id = asked.tenant_id AND k.id = asked.api_key_id AND k.revoke_time IS NULL
                      AND coalesce(k.expire_time > now(), true) AND asked.permission = ANY (k.permissions)))
        """  # noqa: S608 - a number of ours
    )
    .bindparams(bindparam("asked", type_=Text()))
    .columns(place=Integer())
)
"""Takes `asked`, a JSON array. The places of entries whose session, tenant, version, membership or key has changed."""


class Standing:
    """Whether the access of running streams is still current, checked for many at once.

    The generations show the changes made by calls. This also finds changes made in the database itself, such as the
    suspension of a tenant.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def fallen(self, calls: Sequence[Call]) -> list[Call]:
        """The calls to decide anew. Empty while the database does not answer; there are no events then either."""
        asked = [_asked(place, call) for place, call in enumerate(calls) if call.access is not None]
        if not asked:
            return []
        try:
            with self._database.read(Scope(platform=True)) as transaction:
                rows = transaction.run(FALLEN, asked=json.dumps(asked)).all()
        except (psycopg.Error, DatabaseUnavailable) as error:
            log.warning("streams cannot be reviewed: %s", type(error).__name__)
            return []
        return [calls[row["place"]] for row in rows]


def _asked(place: int, call: Call) -> JsonObject:
    """The facts by which a stream was allowed, for FALLEN; None for those that do not matter to it."""
    caller, found = call.caller, call.access
    version = found.version if found else None
    is_member = bool(caller.user_id) and version is not None
    return {
        "place": place,
        "session_id": caller.session_id or None,
        "tenant_id": call.tenant_id or None,
        "version": version,
        "user_id": caller.user_id or None,
        "roles": ",".join(found.roles) if found and is_member else None,
        "api_key_id": caller.api_key_id or None,
        "permission": call.method.permission,
    }


class StoredAccess:
    """Loads access (see AccessSource)."""

    def __init__(self, database: Database, permissions: Permissions) -> None:
        self._database = database
        self._permissions = permissions

    def load(self, principal: Principal, tenant_id: str) -> Access | None:
        """The current permissions of a caller in a tenant; None for a caller who is not a member."""
        if principal.api_key_id:
            return self._of_key(principal, tenant_id) if principal.tenant_id == tenant_id else None
        return self._of_user(principal, tenant_id)

    def principal_of(self, tenant_id: str, owner_id: str) -> Principal:
        """A user, or an API key of a tenant, who has started something there. Raises Unauthenticated if it is gone.

        The principal has no session, and has proven nothing. What it may do is loaded for each of its calls.
        """
        with self._database.read(Scope(tenant_id, owner_id)) as transaction:
            row = transaction.run(OWNER, tenant=tenant_id, owner=owner_id).one()
        if row["is_platform"] is not None:
            return Principal(owner_id, "", tenant_id, (), row["is_platform"], inf)
        if row["secret_hash"] is not None:
            own = {"api_key_id": owner_id, "key_hash": row["secret_hash"]}
            return Principal("", "", tenant_id, (), is_platform=False, expires_at=inf, **own)
        raise Unauthenticated("Who has started this is gone.", reason=Reason.REASON_SESSION_ENDED)

    def tenant_at(self, principal: Principal, subdomain: str) -> str | None:
        """The id of the tenant with this subdomain, as far as row-level security shows it to the caller."""
        scope = Scope(principal.tenant_id, principal.user_id or None, principal.is_platform)
        with self._database.read(scope) as transaction:
            row = transaction.run(TENANT_AT, subdomain=subdomain).first()
        return str(row["id"]) if row else None

    def _of_user(self, principal: Principal, tenant_id: str) -> Access | None:
        scope = Scope(tenant_id or None, principal.user_id, principal.is_platform, principal.session_id or None)
        with self._database.read(scope) as transaction:
            if principal.is_platform and transaction.run(IS_PLATFORM, user_id=principal.user_id).first():
                return Access(tenant_id, self._permissions.every, (), None)
            row = transaction.run(MEMBER_ACCESS, tenant=tenant_id, user_id=principal.user_id).first()
        if row is None or row["roles"] is None:
            return None
        held = self._permissions.of(row["roles"], row["custom"] or ())
        return Access(tenant_id, held, tuple(row["roles"]), row["access_version"], subdomain=row["subdomain"])

    def _of_key(self, principal: Principal, tenant_id: str) -> Access | None:
        with self._database.read(Scope(tenant_id)) as transaction:
            row = transaction.run(
                KEY_ACCESS, tenant=tenant_id, api_key_id=principal.api_key_id, key_hash=principal.key_hash
            ).first()
        if row is not None and not row["lives"]:
            return None
        if row is None or not row["counts"]:
            raise Unauthenticated(
                "The API key has been revoked or replaced, or has expired.", reason=Reason.REASON_API_KEY_ENDED
            )
        held = self._permissions.of((), row["permissions"])
        until = row["until"].timestamp() if row["until"] else inf
        return Access(tenant_id, held, (), row["access_version"], until, row["subdomain"])
