"""Where the sites of tenants are, and what they look like."""

from plinth.tenancy.v1.tenant_pb2 import Tenant
from sqlalchemy import Text, bindparam, literal_column, select, union_all
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Statement
from server.data.transactions import Database, Scope, Transaction
from server.domains.tenancy.tables import brandings, custom_domains, domains, tenants
from server.kernel.ports import SiteBranding, SitePlace

# The tenant of a host name is not known before it is found.
EVERYWHERE = Scope(platform=True)
_b, _t = brandings.c, tenants.c
_hostname = bindparam("hostname", type_=Text())
_at = union_all(
    select(domains.c.tenant_id).where(domains.c.hostname == _hostname),
    select(custom_domains.c.tenant_id).where(
        custom_domains.c.hostname == _hostname, custom_domains.c.verify_time.is_not(None)
    ),
).subquery("at")
BY_HOSTNAME = Statement(
    select(_t.id.label("tenant_id"), _t.name)
    .join(_at, _at.c.tenant_id == _t.id)
    .where(
        _t.status == literal_column(str(int(Tenant.STATUS_ACTIVE))),
        _t.delete_time.is_(None),
    )
)
"""Takes `hostname`."""
BRANDING = Statement(
    select(
        *(_b.logo_url, _b.favicon_url, _b.primary_color, _b.secondary_color, _b.accent_color),
        *(_b.heading_font, _b.body_font),
    ).where(_b.tenant_id == bindparam("tenant", type_=UUID(as_uuid=False)))
)
"""Takes `tenant`."""


class SitePlaces:
    """The port of the same name."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def at(self, hostname: str) -> SitePlace | None:
        """The tenant in use whose site is at a host name, or None."""
        with self._database.read(EVERYWHERE) as transaction:
            row = transaction.run(BY_HOSTNAME, hostname=hostname.lower()).first()
        return SitePlace(**row) if row else None

    def branding(self, transaction: Transaction, tenant_id: str) -> SiteBranding:
        """The branding of a tenant."""
        return SiteBranding(**transaction.run(BRANDING, tenant=tenant_id).one())
