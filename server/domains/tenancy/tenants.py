"""Tenants. A tenant is created with its branding, its domain, its roles and its owner, in one transaction."""

from google.protobuf.empty_pb2 import Empty
from plinth.tenancy.v1 import tenant_pb2
from plinth.tenancy.v1.tenant_pb2 import Tenant
from sqlalchemy import Table, Text, bindparam, column, delete, func, insert, select, true, update
from sqlalchemy.dialects.postgresql import ARRAY, UUID

from server.data.statements import Statement
from server.data.transactions import WriteTransaction
from server.domains.tenancy.branding import DEFAULTS
from server.domains.tenancy.tables import brandings, domains, memberships, roles, tenants
from server.kernel.call import Call
from server.kernel.guard import access_tag
from server.kernel.ids import is_id, new_id
from server.kernel.problems import Violation, broken_rules
from server.kernel.resources import Resource, Service
from server.kernel.roles import BUILT_IN_ROLES

OWNER = "owner"
# Subdomains that could be mistaken for the platform itself.
RESERVED = frozenset({"www", "api", "admin", "app", "mail", "static", "assets", "status", "support", "help", "auth"})


def _insertion(table: Table, *names: str) -> Statement:
    return Statement(insert(table).values({name: bindparam(name, type_=table.c[name].type) for name in names}))


ADD_BRANDING = _insertion(brandings, "tenant_id", "id", *DEFAULTS)
ADD_DOMAIN = _insertion(domains, "tenant_id", "id", "hostname")
ADD_MEMBERSHIP = _insertion(memberships, "tenant_id", "user_id", "roles")
_id = UUID(as_uuid=False)
_named = (
    func.unnest(bindparam("ids", type_=ARRAY(_id)), bindparam("names", type_=ARRAY(Text())))
    .table_valued(column("id", _id), column("name", Text()))
    .render_derived()
)
ADD_BUILT_IN_ROLES = Statement(
    insert(roles).from_select(
        ["tenant_id", "id", "name", "built_in"],
        select(bindparam("tenant", type_=_id), _named.c.id, _named.c.name, true()),
    )
)
MOVE_DOMAIN = Statement(
    update(domains)
    .where(domains.c.tenant_id == bindparam("tenant", type_=domains.c.tenant_id.type))
    .where(domains.c.hostname == bindparam("before", type_=domains.c.hostname.type))
    .values(hostname=bindparam("after", type_=domains.c.hostname.type))
)
FREE_DOMAINS = Statement(
    delete(domains).where(domains.c.tenant_id == bindparam("tenant", type_=domains.c.tenant_id.type))
)


class TenantService(Service[Tenant]):
    """Tenants."""

    descriptor = tenant_pb2.DESCRIPTOR.services_by_name["TenantService"]
    resource = Resource(
        Tenant,
        tenants,
        filterable=("id", "subdomain", "name", "status", "create_time", "update_time"),
        sortable=("create_time", "subdomain", "name"),
        unique={"tenants_subdomain_key": "subdomain"},
    )

    def __init__(self, sites_domain: str) -> None:
        super().__init__()
        self._sites_domain = sites_domain

    def prepare(self, call: Call, resource: Tenant, before: Tenant | None) -> None:
        """Make a new tenant active, and run the rest of the transaction inside it."""
        if before is None:
            resource.id = new_id()
            resource.status = Tenant.STATUS_ACTIVE
            call.enter_tenant(resource.id)

    def check(self, call: Call, resource: Tenant, before: Tenant | None) -> None:
        """Refuse subdomains that could be mistaken for the platform itself, or for the id of a tenant."""
        del call, before
        if resource.subdomain in RESERVED or is_id(resource.subdomain):
            raise broken_rules([Violation("tenant.subdomain", "is reserved", "tenant.subdomain.reserved")])

    def after_write(self, call: Call, resource: Tenant, before: Tenant | None) -> None:
        """Add branding, domain, roles and owner to a new tenant.

        After a change of the subdomain, change the domain too.
        """
        if before is None:
            self._furnish(call, resource)
        elif before.subdomain != resource.subdomain:
            # What is known of access names the tenant by its former one.
            call.invalidate(access_tag(resource.id))
            call.writes.queue(
                MOVE_DOMAIN,
                tenant=resource.id,
                before=self._hostname(before.subdomain),
                after=self._hostname(resource.subdomain),
            )

    def delete_tenant(self, call: Call, request: tenant_pb2.DeleteTenantRequest) -> Empty:
        """Delete a tenant and free its domains."""
        before = self.rows.lock(call, request.tenant_id, etag=request.etag)
        call.event_payload = self.rows.delete(call, before)
        call.writes.queue(FREE_DOMAINS, tenant=request.tenant_id)
        return Empty()

    def _furnish(self, call: Call, tenant: Tenant) -> None:
        write = call.writes.queue
        write(ADD_BRANDING, tenant_id=tenant.id, id=new_id(), **DEFAULTS)
        write(ADD_DOMAIN, tenant_id=tenant.id, id=new_id(), hostname=self._hostname(tenant.subdomain))
        write(ADD_MEMBERSHIP, tenant_id=tenant.id, user_id=call.caller.user_id, roles=[OWNER])
        add_built_in_roles(call.writes, tenant.id)

    def _hostname(self, subdomain: str) -> str:
        return f"{subdomain}.{self._sites_domain}"


def add_built_in_roles(transaction: WriteTransaction, tenant_id: str) -> None:
    """Add the built-in roles to a new tenant."""
    ids = [new_id() for _ in BUILT_IN_ROLES]
    transaction.queue(ADD_BUILT_IN_ROLES, tenant=tenant_id, ids=ids, names=list(BUILT_IN_ROLES))
