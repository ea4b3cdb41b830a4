"""Roles of members. A caller who grants or removes a role must hold all its permissions."""

from typing import ClassVar

from google.protobuf.empty_pb2 import Empty
from plinth.tenancy.v1 import role_pb2
from plinth.tenancy.v1.role_pb2 import ListMemberRolesResponse, Membership, Role
from sqlalchemy import ColumnElement, Select, Text, and_, any_, bindparam, func, select, text, update
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Row, Statement
from server.domains.tenancy.explain import USER_TYPE
from server.domains.tenancy.leaving import keep_owners
from server.domains.tenancy.roles import show_built_in
from server.domains.tenancy.tables import memberships, roles
from server.domains.tenancy.tenants import OWNER
from server.kernel.call import Call
from server.kernel.guard import Permissions
from server.kernel.problems import limit_reached, not_found
from server.kernel.resources import ConversionPlan, EventFacts, Service

ROLE_TYPE = "plinth.dev/Role"
# All roles of a member are returned in one answer, and each access token contains them.
MOST_ROLES = 50

_id = UUID(as_uuid=False)
_within = bindparam("within", type_=_id)
_is_member = and_(memberships.c.tenant_id == _within, memberships.c.user_id == bindparam("member", type_=_id))
_plan = ConversionPlan(Role, roles)
ROLES_OF = Statement(
    select(*_plan.columns)
    .select_from(
        memberships.outerjoin(
            roles, and_(roles.c.tenant_id == memberships.c.tenant_id, roles.c.name == any_(memberships.c.roles))
        )
    )
    .where(_is_member)
    .order_by(roles.c.name)
)


def _role(condition: ColumnElement[bool]) -> Select[tuple[str, list[str]]]:
    """Locks a role against deletion while it is granted: a later role of the same name would go to its old holders."""
    found = select(roles.c.name, roles.c.permissions).where(roles.c.tenant_id == _within, condition)
    return found.with_for_update(read=True)


ROLE_NAMED = Statement(_role(roles.c.name == bindparam("role", type_=Text())))
ROLE_WITH_ID = Statement(_role(roles.c.id == bindparam("role", type_=_id)))
HELD = Statement(select(memberships.c.roles).where(_is_member).with_for_update())
CHANGED = {"version": memberships.c.version + text("1"), "update_time": func.now()}
SET_ROLES = Statement(
    update(memberships).where(_is_member).values(roles=bindparam("held", type_=memberships.c.roles.type), **CHANGED)
)


class MembershipService(Service):
    """Roles of members."""

    descriptor = role_pb2.DESCRIPTOR.services_by_name["MembershipService"]
    events: ClassVar = {"membership.role_removed": EventFacts(Membership)}

    def __init__(self, permissions: Permissions) -> None:
        super().__init__()
        self._permissions = permissions

    def list_member_roles(self, call: Call, request: role_pb2.ListMemberRolesRequest) -> ListMemberRolesResponse:
        """The roles of a member, by name."""
        result = call.reads.run(ROLES_OF, within=call.tenant_id, member=request.user_id)
        if not result.returned:
            raise not_found(USER_TYPE, request.user_id)
        rows = [result.raw(number) for number in range(result.returned)]
        # A member without roles is one row of nulls.
        found = [_plan.message(row) for row in rows if row[0] is not None]
        show_built_in(self._permissions, found)
        return ListMemberRolesResponse(roles=found)

    def assign_role(self, call: Call, request: role_pb2.AssignRoleRequest) -> Membership:
        """Grant a role to a member."""
        name = self._grantable(call, ROLE_NAMED, request.role)
        held = _lock_roles(call, request.user_id)
        if name in held:
            # Nothing has changed, so there is no event. The audit log records the call.
            call.emits = ""
            return _membership(request.user_id, held)
        if len(held) >= MOST_ROLES:
            raise limit_reached(f"A member has at most {MOST_ROLES} roles.", MOST_ROLES, ROLE_TYPE)
        return _set_roles(call, request.user_id, held, [*held, name])

    def remove_role(self, call: Call, request: role_pb2.RemoveRoleRequest) -> Empty:
        """Remove a role from a member."""
        name = self._grantable(call, ROLE_WITH_ID, request.role_id)
        if name == OWNER:
            keep_owners(call.writes, [str(call.tenant_id)], request.user_id)
        held = _lock_roles(call, request.user_id)
        if name not in held:
            raise not_found(ROLE_TYPE, request.role_id)
        call.event_payload = _set_roles(call, request.user_id, held, [role for role in held if role != name])
        return Empty()

    def _grantable(self, call: Call, statement: Statement, role: str) -> str:
        """The name of a role in the tenant whose permissions the caller all holds. Raises NotFound and Denied."""
        row = call.writes.run(statement, within=call.tenant_id, role=role).first()
        if row is None:
            raise not_found(ROLE_TYPE, role)
        call.check_may_grant(self._permissions.of((row["name"],), row["permissions"]))
        return str(row["name"])


def _lock_roles(call: Call, user_id: str) -> list[str]:
    """The roles of a member, locked until the call ends. Raises NotFound."""
    row: Row | None = call.writes.run(HELD, within=call.tenant_id, member=user_id).first()
    if row is None:
        raise not_found(USER_TYPE, user_id)
    return list(row["roles"])


def _set_roles(call: Call, user_id: str, before: list[str], held: list[str]) -> Membership:
    call.writes.queue(SET_ROLES, within=call.tenant_id, member=user_id, held=held)
    membership = _membership(user_id, held)
    call.note_change(_membership(user_id, before), membership)
    return membership


def _membership(user_id: str, roles: list[str]) -> Membership:
    return Membership(id=user_id.lower(), roles=roles)
