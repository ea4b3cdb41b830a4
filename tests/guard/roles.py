"""Taking a role from a member, over gRPC so that a test can choose the worker."""

from plinth.tenancy.v1 import role_pb2

from tests.clients import Account, Tenant


def take(tenant: Tenant, account: Account, name: str) -> None:
    """Take the role of this name from a member."""
    listed = tenant.stubs.roles.ListRoles(role_pb2.ListRolesRequest())
    role_id = next(role.id for role in listed.roles if role.name == name)
    tenant.stubs.members.RemoveRole(role_pb2.RemoveRoleRequest(user_id=account.id, role_id=role_id))
