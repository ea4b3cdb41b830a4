"""Rate limits of a tenant that differ from those of the deployment."""

from collections.abc import Iterable, Mapping
from math import ceil

import psycopg
from plinth.tenancy.v1 import rate_limits_pb2
from plinth.tenancy.v1.rate_limits_pb2 import RateLimit, RateLimits
from plinth.types.v1.explanation_pb2 import Explanation
from sqlalchemy import bindparam, select, update
from sqlalchemy.dialects.postgresql import UUID

from server.data.connections import DatabaseUnavailable
from server.data.statements import Statement
from server.data.transactions import Database, Scope
from server.domains.tenancy.explain_limits import LimitExplainer
from server.domains.tenancy.tables import tenants
from server.kernel.caching import Generations, TenantMemory
from server.kernel.call import Call
from server.kernel.problems import Violation, broken_rules, not_found
from server.kernel.rates import Rate
from server.kernel.resources import Service

TENANT_TYPE = "plinth.dev/Tenant"
# Tenants whose rates are kept per process, about 300 bytes each without overrides.
REMEMBERED = 20_000
NOTHING: Mapping[str, Rate] = {}

_is_tenant = (tenants.c.id == bindparam("tenant", type_=UUID(as_uuid=False)), tenants.c.delete_time.is_(None))
STORED = Statement(select(tenants.c.rate_limits).where(*_is_tenant))
LOCKED = Statement(select(tenants.c.rate_limits).where(*_is_tenant).with_for_update())
REPLACE = Statement(
    update(tenants)
    .where(*_is_tenant)
    .values(rate_limits=bindparam("overrides", type_=tenants.c.rate_limits.type))
    .returning(tenants.c.rate_limits)
)


class TenantRates:
    """The rates of tenants in the memory of this process. Whatever may have changed is read again.

    A missing answer refuses no call: while PostgreSQL does not answer, the known rates apply, or else the deployment's.
    """

    def __init__(self, database: Database, generations: Generations) -> None:
        self._database = database
        self._memory = TenantMemory(generations, "limits:{tenant_id}", self._read, most=REMEMBERED)

    def of(self, tenant_id: str) -> Mapping[str, Rate]:
        """The tenant's own rates by class."""
        try:
            return self._memory.of(tenant_id)
        except (psycopg.Error, DatabaseUnavailable):
            return NOTHING

    def _read(self, tenant_id: str) -> Mapping[str, Rate]:
        with self._database.read(Scope(tenant_id=tenant_id)) as transaction:
            row = transaction.run(STORED, tenant=tenant_id).first()
        if not row or not row["rate_limits"]:
            return NOTHING
        return {rate_class: Rate(calls, float(period)) for rate_class, (calls, period) in row["rate_limits"].items()}


class RateLimitsService(Service):
    """Rate limits of tenants, for platform administrators, and their explanation for everyone they apply to."""

    descriptor = rate_limits_pb2.DESCRIPTOR.services_by_name["RateLimitsService"]

    def __init__(self, rates: Mapping[str, Rate], explainer: LimitExplainer) -> None:
        """`rates` are those of the deployment, by class."""
        super().__init__()
        self._rates = rates
        self._explainer = explainer

    def get_rate_limits(self, call: Call, request: rate_limits_pb2.GetRateLimitsRequest) -> RateLimits:
        """The limits that apply to a tenant."""
        row = call.reads.run(STORED, tenant=request.tenant_id).first()
        if row is None:
            raise not_found(TENANT_TYPE, request.tenant_id)
        return self._limits(request.tenant_id, row["rate_limits"])

    def replace_rate_limits(self, call: Call, request: rate_limits_pb2.ReplaceRateLimitsRequest) -> RateLimits:
        """Replace the overrides of a tenant."""
        self._check(request.overrides)
        # Event and tag belong to the tenant, but platform administrators are bound to no tenant.
        call.enter_tenant(request.tenant_id.lower())
        overrides = {limit.rate_class: [limit.calls, limit.period_seconds] for limit in request.overrides}
        held = call.writes.run(LOCKED, tenant=request.tenant_id).first()
        if held is None:
            raise not_found(TENANT_TYPE, request.tenant_id)
        if held["rate_limits"] == overrides:
            call.changes_nothing = True
            return self._limits(request.tenant_id, held["rate_limits"])
        row = call.writes.run(REPLACE, tenant=request.tenant_id, overrides=overrides).one()
        limits = self._limits(request.tenant_id, row["rate_limits"])
        call.note_change(self._limits(request.tenant_id, held["rate_limits"]), limits)
        return limits

    def explain_rate_limits(self, call: Call, request: rate_limits_pb2.ExplainRateLimitsRequest) -> Explanation:
        """The limits that a call would meet."""
        return self._explainer.explain(call, request)

    def _check(self, overrides: Iterable[RateLimit]) -> None:
        violations, seen = [], set()
        for place, limit in enumerate(overrides):
            path = f"overrides[{place}].rateClass"
            if limit.rate_class not in self._rates:
                known = ", ".join(sorted(self._rates))
                violations.append(Violation(path, f"is one of {known}", "rate_limit.class"))
            elif limit.rate_class in seen:
                violations.append(Violation(path, "is there twice", "rate_limit.twice"))
            seen.add(limit.rate_class)
        if violations:
            raise broken_rules(violations)

    def _limits(self, tenant_id: str, overrides: Mapping[str, tuple[int, int]]) -> RateLimits:
        limits = RateLimits(id=tenant_id.lower())
        for rate_class, rate in sorted(self._rates.items()):
            own = overrides.get(rate_class)
            calls, period = own or (rate.calls, ceil(rate.period))
            limits.limits.append(
                RateLimit(rate_class=rate_class, calls=calls, period_seconds=period, overridden=own is not None)
            )
        return limits
