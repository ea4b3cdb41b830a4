"""API keys: credentials for programs, each of one tenant.

A key is `sn_live_` or `sn_test_` and 256 random bits. Stored are its first characters, by which it is looked up, and a
hash of the whole key, keyed with the deployment's secret: a reader of the table has nothing to test keys against. A
slow hash would add nothing, because 256 bits cannot be guessed, and it would cost time at every call.
"""

import re
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from math import inf
from time import monotonic

from google.protobuf.empty_pb2 import Empty
from google.protobuf.timestamp_pb2 import Timestamp
from plinth.identity.v1 import api_key_pb2
from plinth.identity.v1.api_key_pb2 import ApiKey, ApiKeyUsage
from sqlalchemy import BigInteger, ColumnElement, and_, bindparam, case, cast, func, null, or_, select, text, update

from server.data.statements import Row, Statement
from server.data.transactions import Database, Scope
from server.domains.identity.api_key_chains import PACED_ANCESTORS, Chains, ancestor_paces
from server.domains.identity.tables import api_key_usage, api_keys
from server.kernel.call import Call, Principal
from server.kernel.clock import Clock, utc_now
from server.kernel.guard import Permissions
from server.kernel.keys import derive_key, fingerprint, matches, sign
from server.kernel.ports import UserGrants
from server.kernel.problems import Reason, StateForbids, Unauthenticated, Violation, broken_rules, not_found
from server.kernel.resources import Resource, Service
from server.secrets import Secrets

PEPPER = "api key pepper"
LIVE, TEST = "sn_live_", "sn_test_"
SECRET_BYTES = 32
# Shown characters of the random part: enough to tell keys apart, while 208 bits remain unknown.
SHOWN = 8
FORMAT = re.compile(rf"(?:{LIVE}|{TEST})[A-Za-z0-9_-]{{43}}")
# Finding a key costs a round trip to PostgreSQL, a look-up here 1 us. 10,000 principals take about 6 MB.
REMEMBERED = 10_000
# Seconds for which a wrong secret is refused without another query.
REFUSED_FOR = 10.0
DEFAULT_DAYS = 30
MOST_METHODS = 200
# Counters are int32, because JSON shows 64-bit integers as text.
LARGEST_COUNT = 2**31 - 1

_keys, _usage = api_keys.c, api_key_usage.c
_prefix = bindparam("prefix", type_=_keys.prefix.type)
FIND = Statement(
    select(
        _keys.tenant_id,
        _keys.id,
        _keys.secret_hash,
        _keys.previous_hash,
        _keys.expire_time,
        _keys.calls_per_minute,
        *PACED_ANCESTORS,
    ).where(or_(_keys.prefix == _prefix, and_(_keys.previous_prefix == _prefix, _keys.previous_prefix != text("''"))))
)
"""Takes `prefix`. Returns one key, or two if the prefix was that of another key before."""

_tenant = bindparam("tenant", type_=_keys.tenant_id.type)
_id = bindparam("api_key_id", type_=_keys.id.type)
REHASH = Statement(
    update(api_keys)
    .where(_keys.tenant_id == _tenant, _keys.id == _id)
    .where(_keys.secret_hash == bindparam("stored", type_=_keys.secret_hash.type))
    .values(secret_hash=bindparam("hash", type_=_keys.secret_hash.type))
)
"""Takes `tenant`, `api_key_id`, `stored` and `hash`."""
_since = bindparam("since", type_=_usage.day.type)


def _sum(column: ColumnElement[int], name: str) -> ColumnElement[int]:
    return cast(func.sum(column), BigInteger).label(name)


_counts = (_sum(_usage.calls, "calls"), _sum(_usage.failures, "failures"))
DAYS = Statement(
    select(_keys.id, _usage.day, *_counts)
    .select_from(
        api_keys.outerjoin(
            api_key_usage,
            and_(_usage.tenant_id == _keys.tenant_id, _usage.api_key_id == _keys.id, _usage.day >= _since),
        )
    )
    .where(_keys.tenant_id == _tenant, _keys.id == _id)
    .group_by(_keys.id, _usage.day)
    .order_by(_usage.day.desc())
)
"""Takes `tenant`, `api_key_id` and `since`. No row if the key does not exist; one without a day if it made no calls."""
METHODS = Statement(
    select(_usage.method, *_counts)
    .where(_usage.tenant_id == _tenant, _usage.api_key_id == _id, _usage.day >= _since)
    .group_by(_usage.method)
    .order_by(_counts[0].desc(), _usage.method)
    .limit(MOST_METHODS)
)
"""Takes `tenant`, `api_key_id` and `since`."""


def new_key(environment: ApiKey.Environment) -> str:
    """Generate a key."""
    return (TEST if environment == ApiKey.ENVIRONMENT_TEST else LIVE) + secrets.token_urlsafe(SECRET_BYTES)


def shown(key: str) -> str:
    """The beginning of a key: the only part that is shown later."""
    return key[: len(LIVE) + SHOWN]


def key_hash(secrets: Secrets) -> Callable[[str], bytes]:
    """A function that returns the stored hash of a new key."""
    pepper = derive_key(secrets.accepted[0], PEPPER)
    return lambda key: sign(pepper, key.encode())


class ApiKeys:
    """Verifies API keys."""

    def __init__(self, database: Database, secrets: Secrets, clock: Clock = utc_now) -> None:
        """Keys that were hashed with any of the secrets are valid."""
        self._database = database
        self._peppers = [derive_key(given, PEPPER) for given in secrets.accepted]
        self._lasting = [derive_key(given, PEPPER) for given in secrets.lasting]
        self._hash = key_hash(secrets)
        self._clock = clock
        self._known: dict[bytes, Principal] = {}
        self._refused: dict[bytes, float] = {}

    def is_key(self, secret: str) -> bool:
        """Whether a credential looks like an API key."""
        return secret.startswith((LIVE, TEST))

    def verify(self, secret: str) -> Principal:
        """The principal of a key. Raises Unauthenticated if the key does not exist or has expired.

        Only facts that never change are cached here. Loading the key's access checks what may change, such as a
        revocation.
        """
        name = fingerprint(secret)
        principal = self._known.get(name)
        if principal is None:
            principal = self._find_anew(name, secret)
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[name] = principal
        if principal.expires_at <= self._clock().timestamp():
            raise Unauthenticated("The API key has expired.", reason=Reason.REASON_API_KEY_ENDED)
        return principal

    def _find_anew(self, name: bytes, secret: str) -> Principal:
        """Run _find. A wrong secret is not looked up again for a while, because no key will ever get it."""
        if self._refused.get(name, 0.0) > monotonic():
            raise _no_such_key()
        try:
            return self._find(secret)
        except Unauthenticated:
            if len(self._refused) >= REMEMBERED:
                self._refused.clear()
            self._refused[name] = monotonic() + REFUSED_FOR
            raise

    def _find(self, secret: str) -> Principal:
        for row in self._rows(secret):
            for stored in (row["secret_hash"], row["previous_hash"]):
                if stored is not None and any(matches(pepper, secret.encode(), stored) for pepper in self._peppers):
                    return _principal(row, self._rehashed(row, stored, secret))
        raise _no_such_key()

    def _rehashed(self, row: Row, stored: bytes, secret: str) -> bytes:
        """The hash of a key under the current secret: keys outlive the secret under which they were hashed."""
        if stored != row["secret_hash"] or any(matches(pepper, secret.encode(), stored) for pepper in self._lasting):
            return stored
        hashed = self._hash(secret)
        with self._database.write(Scope(platform=True)) as transaction:
            transaction.run(REHASH, tenant=row["tenant_id"], api_key_id=row["id"], stored=stored, hash=hashed)
        return hashed

    def _rows(self, secret: str) -> list[Row]:
        """The keys with the prefix of this one. A text without the form of a key is not looked up."""
        if not FORMAT.fullmatch(secret):
            return []
        with self._database.read(Scope(platform=True)) as transaction:
            return transaction.run(FIND, prefix=shown(secret)).all()


def _no_such_key() -> Unauthenticated:
    return Unauthenticated("The API key is not valid.")


def _principal(row: Row, stored: bytes) -> Principal:
    return Principal(
        user_id="",
        session_id="",
        tenant_id=row["tenant_id"],
        roles=(),
        is_platform=False,
        expires_at=row["expire_time"].timestamp() if row["expire_time"] else inf,
        api_key_id=row["id"],
        key_hash=stored,
        calls_per_minute=row["calls_per_minute"],
        ancestor_paces=ancestor_paces(row),
    )


class ApiKeyService(Service[ApiKey]):
    """API keys of a tenant."""

    descriptor = api_key_pb2.DESCRIPTOR.services_by_name["ApiKeyService"]
    resource = Resource(
        ApiKey,
        api_keys,
        filterable=(
            "id",
            "name",
            "prefix",
            "environment",
            "create_user_id",
            "create_api_key_id",
            "origin_user_id",
            "create_time",
            "expire_time",
            "last_use_time",
            "revoke_time",
        ),
        sortable=("create_time", "name"),
        unique={"api_keys_prefix_key": "prefix"},
        hidden=("secret_hash",),
        computed=("key", "exceeds_origin"),
    )

    def __init__(
        self, hashed: Callable[[str], bytes], permissions: Permissions, grants: UserGrants, clock: Clock = utc_now
    ) -> None:
        super().__init__()
        self._hash = hashed
        self._chains = Chains(self.rows.plan, permissions, grants)
        self._permissions = permissions
        self._clock = clock
        own = and_(_keys.tenant_id == _tenant, _keys.id == _id)
        until = bindparam("until", type_=_keys.previous_expire_time.type)
        self._replace_secret = Statement(
            update(api_keys)
            .where(own)
            .values(
                prefix=_prefix,
                secret_hash=bindparam("hash", type_=_keys.secret_hash.type),
                previous_prefix=case((until.is_not(None), _keys.prefix), else_=text("''")),
                previous_hash=case((until.is_not(None), _keys.secret_hash), else_=null()),
                previous_expire_time=until,
                version=_keys.version + text("1"),
                update_time=func.now(),
            )
            .returning(*self.rows.plan.columns)
        )

    def prepare(self, call: Call, resource: ApiKey, before: ApiKey | None) -> None:
        """Generate the secret of a new key. It is passed in `prefix` to the hook that hashes it."""
        if before is None:
            resource.environment = resource.environment or ApiKey.ENVIRONMENT_LIVE
            self._chains.record(call, resource)
            resource.key = resource.prefix = new_key(resource.environment)

    def check(self, call: Call, resource: ApiKey, before: ApiKey | None) -> None:
        """A new key must expire in the future, and its permissions must exist and be held by its maker."""
        if before is None:
            violations = [*self._permission_violations(resource), *self._expiry_violations(resource)]
            if violations:
                raise broken_rules(violations)
            call.check_may_grant(resource.permissions)
            self._chains.check_may_grant(call, resource)

    def before_write(self, call: Call, values: Row, before: ApiKey | None) -> None:
        """Store the hash of a new key, and its beginning."""
        del call
        if before is None:
            key = values["prefix"]
            values |= {"prefix": shown(key), "secret_hash": self._hash(key)}

    def present(self, call: Call, resources: list[ApiKey]) -> None:
        """Show the prefix of a replaced secret while the secret is valid."""
        self._chains.note_excess(call, resources)
        now = self._clock()
        for key in resources:
            if key.HasField("revoke_time") or _is_over(key.previous_expire_time, now):
                key.ClearField("previous_prefix")
                key.ClearField("previous_expire_time")

    def create_api_key(self, call: Call, request: api_key_pb2.CreateApiKeyRequest) -> ApiKey:
        """Create a key. Only this answer shows it."""
        asked = ApiKey()
        asked.CopyFrom(request.api_key)
        created: ApiKey = self.rows.insert(call, asked)
        created.key = asked.key
        return created

    def revoke_api_key(self, call: Call, request: api_key_pb2.RevokeApiKeyRequest) -> Empty:
        """Revoke a key permanently, with all its descendants."""
        before: ApiKey = self.rows.lock(call, request.api_key_id, etag=request.etag)
        self._refuse_revoked(before)
        key = ApiKey()
        key.CopyFrom(before)
        key.revoke_time.FromDatetime(self._clock())
        call.event_payload = self.rows.update(call, key, before)
        self._chains.revoke_descendants(call, call.event_payload)
        return Empty()

    def rotate_api_key(self, call: Call, request: api_key_pb2.RotateApiKeyRequest) -> ApiKey:
        """Replace the secret of a key. Only this answer shows the new one."""
        before: ApiKey = self.rows.lock(call, request.api_key_id)
        self._refuse_revoked(before)
        self._refuse_expired(before)
        # Permissions that no longer exist are ignored, so the caller need not hold them.
        call.check_may_grant(self._permissions.of((), before.permissions))
        self._chains.check_may_grant(call, before)
        secret, overlap = new_key(before.environment), request.overlap.ToTimedelta()
        result = call.writes.run(
            self._replace_secret,
            tenant=call.tenant_id,
            api_key_id=before.id,
            prefix=shown(secret),
            hash=self._hash(secret),
            until=self._clock() + overlap if overlap else None,
        )
        key: ApiKey = self.rows.plan.message(result.raw(0))
        self.present(call, [key])
        key.key = secret
        return key

    def get_api_key_usage(self, call: Call, request: api_key_pb2.GetApiKeyUsageRequest) -> ApiKeyUsage:
        """Count the calls made with a key."""
        first = self._clock() - timedelta(days=(request.days or DEFAULT_DAYS) - 1)
        asked = {"tenant": call.tenant_id, "api_key_id": request.api_key_id, "since": first.date().isoformat()}
        days = call.reads.run(DAYS, **asked).all()
        if not days:
            raise not_found(self.rows.type, request.api_key_id)
        methods = call.reads.run(METHODS, **asked).all()
        return ApiKeyUsage(
            api_key_id=days[0]["id"],
            days=[ApiKeyUsage.Day(date=row["day"], **_shown_counts(row)) for row in days if row["day"]],
            methods=[ApiKeyUsage.Method(name=row["method"], **_shown_counts(row)) for row in methods],
        )

    def _permission_violations(self, key: ApiKey) -> list[Violation]:
        if not key.permissions:
            return [Violation("api_key.permissions", "names at least one", "api_key.permissions.none")]
        return [
            Violation(f"api_key.permissions[{place}]", "is not in the catalogue of permissions", "permission.unknown")
            for place, permission in enumerate(key.permissions)
            if permission not in self._permissions.every
        ]

    def _expiry_violations(self, key: ApiKey) -> list[Violation]:
        if not key.HasField("expire_time") or not _is_over(key.expire_time, self._clock()):
            return []
        return [Violation("api_key.expire_time", "is not in the future", "api_key.expire_time.future")]

    def _refuse_revoked(self, key: ApiKey) -> None:
        if key.HasField("revoke_time"):
            raise self._state_forbids(key, "The API key has been revoked.", "REVOKED")

    def _refuse_expired(self, key: ApiKey) -> None:
        if key.HasField("expire_time") and _is_over(key.expire_time, self._clock()):
            raise self._state_forbids(key, "The API key has expired.", "EXPIRED")

    def _state_forbids(self, key: ApiKey, message: str, state: str) -> StateForbids:
        metadata = {"resource_type": self.rows.type, "resource": key.id, "state": state}
        return StateForbids(message, metadata=metadata)


def _is_over(moment: Timestamp, now: datetime) -> bool:
    """Whether a time has passed. An unset time counts as passed. Works for years beyond Python's range."""
    return moment.seconds + moment.nanos / 1e9 <= now.timestamp()


def _shown_counts(row: Row) -> dict[str, int]:
    return {name: min(row[name], LARGEST_COUNT) for name in ("calls", "failures")}
