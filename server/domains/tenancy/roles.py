"""Roles of a tenant: the built-in ones, and custom ones made from the catalogue of permissions."""

from collections.abc import Iterable, Mapping

from google.protobuf.empty_pb2 import Empty
from plinth.tenancy.v1 import role_pb2
from plinth.tenancy.v1.role_pb2 import Explanation, ListPermissionsResponse, Permission, Role
from sqlalchemy import Text, any_, bindparam, func, text, update

from server.data.statements import Statement
from server.domains.tenancy.explain import Explainer, unknown_permission
from server.domains.tenancy.tables import memberships, roles
from server.kernel.call import Call
from server.kernel.guard import Permissions
from server.kernel.ports import KeyGrants
from server.kernel.problems import StateForbids, broken_rules, taken
from server.kernel.queries import OrderTerm
from server.kernel.resources import Resource, Service
from server.kernel.roles import BUILT_IN_ROLES

# Names with the same meaning in every tenant. `super_admin` denotes platform administrators.
RESERVED = frozenset({*BUILT_IN_ROLES, "super_admin"})

_name = bindparam("role", type_=Text())
TAKE_FROM_ALL = Statement(
    update(memberships)
    .where(memberships.c.tenant_id == bindparam("within", type_=memberships.c.tenant_id.type))
    .where(_name == any_(memberships.c.roles))
    .values(roles=func.array_remove(memberships.c.roles, _name), version=memberships.c.version + text("1"))
)


class RoleService(Service[Role]):
    """Roles of a tenant."""

    descriptor = role_pb2.DESCRIPTOR.services_by_name["RoleService"]
    resource = Resource(
        Role,
        roles,
        filterable=("id", "name", "built_in"),
        sortable=("name",),
        default_order=(OrderTerm("name", descending=False),),
        unique={"roles_name_key": "name"},
    )

    def __init__(self, permissions: Permissions, methods: Mapping[str, tuple[str, ...]], keys: KeyGrants) -> None:
        """`methods` are the RPCs that require each permission."""
        super().__init__()
        self._permissions = permissions
        self._explainer = Explainer(permissions, keys)
        self._catalogue = ListPermissionsResponse(
            permissions=[Permission(name=name, methods=methods[name]) for name in permissions.catalogue]
        )

    def check(self, call: Call, resource: Role, before: Role | None) -> None:
        """Built-in roles cannot change, and a role cannot have permissions that the caller lacks."""
        if before is not None:
            self._refuse_built_in(before)
        elif resource.name in RESERVED:
            raise taken(self.rows.type, "name")
        had = before.permissions if before else ()
        self._check_known(resource.permissions, had)
        # The previous permissions count too, so that a caller cannot take from others what the caller lacks.
        call.check_may_grant(self._permissions.of((), (*had, *resource.permissions)))

    def present(self, call: Call, resources: list[Role]) -> None:
        """Show the permissions of built-in roles."""
        del call
        show_built_in(self._permissions, resources)

    def delete_role(self, call: Call, request: role_pb2.DeleteRoleRequest) -> Empty:
        """Delete a role, and remove it from all members."""
        before: Role = self.rows.lock(call, request.role_id, etag=request.etag)
        self._refuse_built_in(before)
        call.check_may_grant(self._permissions.of((), before.permissions))
        call.writes.queue(TAKE_FROM_ALL, within=call.tenant_id, role=before.name)
        call.event_payload = self.rows.delete(call, before)
        return Empty()

    def list_permissions(self, call: Call, request: role_pb2.ListPermissionsRequest) -> ListPermissionsResponse:
        """All permissions, with the RPCs that require them."""
        del request, call
        return self._catalogue

    def explain_access(self, call: Call, request: role_pb2.ExplainAccessRequest) -> Explanation:
        """Whether a user or API key has a permission, and why."""
        return self._explainer.explain(call, request)

    def _refuse_built_in(self, role: Role) -> None:
        if role.built_in:
            raise StateForbids(
                "The role is built in: it can be neither changed nor deleted.",
                metadata={"resource_type": self.rows.type, "resource": role.id, "state": "BUILT_IN"},
            )

    def _check_known(self, named: Iterable[str], had: Iterable[str]) -> None:
        """Refuse unknown permissions.

        One that the role already has may stay after it left the catalogue: it permits nothing.
        """
        known = {*self._permissions.every, *had}
        unknown = [place for place, name in enumerate(named) if name not in known]
        if unknown:
            raise broken_rules([unknown_permission(f"role.permissions[{place}]") for place in unknown])


def show_built_in(permissions: Permissions, found: Iterable[Role]) -> None:
    """Fill in the permissions of built-in roles, which are not stored in their rows."""
    for role in found:
        if role.built_in:
            role.permissions[:] = sorted(permissions.built_in.get(role.name, ()))
