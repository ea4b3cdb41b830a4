"""authorise: may the caller do this, and in which tenant. Stands before validate, so that a stranger learns nothing."""

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from server.kernel.call import Call, Principal
from server.kernel.chain import Guard, GuardStep
from server.kernel.policy import Access, MethodPolicy
from server.kernel.problems import Denied, Problem, Reason, Unauthenticated, not_found

TENANT = "plinth.dev/Tenant"
RolesIn = Callable[[str, str], tuple[str, ...] | None]
"""The roles of a user (second) in a tenant (first), or None for a stranger."""


class Permissions:
    """Which roles hold which permissions, worked out once from patterns such as `sites.*.read`."""

    def __init__(self, roles: Mapping[str, Iterable[str]], catalogue: Iterable[str]) -> None:
        """A pattern with a leading `-` takes permissions away from what stands before it."""
        known = sorted(set(catalogue))
        self.catalogue = tuple(known)
        self._held = {role: _expand(patterns, known) for role, patterns in roles.items()}

    def holds(self, roles: Iterable[str], permission: str) -> bool:
        """Whether one of the roles holds the permission."""
        held = self._held
        return any(permission in held.get(role, ()) for role in roles)


def _expand(patterns: Iterable[str], known: Iterable[str]) -> frozenset[str]:
    held: set[str] = set()
    for pattern in patterns:
        if pattern.startswith("-"):
            held = {name for name in held if not fnmatchcase(name, pattern[1:])}
        else:
            held |= {name for name in known if fnmatchcase(name, pattern)}
    return frozenset(held)


class Authorize(GuardStep):
    """Decides by the policy; sets the tenant of the call."""

    name = "authorize"

    def __init__(self, permissions: Permissions, roles_in: RolesIn) -> None:
        self._permissions = permissions
        self._roles_in = roles_in

    def guard(self, method: MethodPolicy) -> Guard | None:
        """The decision of this RPC's policy."""
        if method.access is Access.PUBLIC:
            return None
        if method.access is Access.SIGNED_IN:
            # Bound to no tenant: whoever's tenant is gone can still log out, or go elsewhere.
            return None
        if method.access is Access.PERMISSION:
            return self._permission_guard(method)
        if method.access is Access.PLATFORM:
            return _platform_guard(method)
        return _refuse_all

    def _permission_guard(self, method: MethodPolicy) -> Guard:
        permission, has_tenant, holds = method.permission, method.has_tenant, self._permissions.holds

        def authorize(call: Call, request: Any) -> None:
            principal = call.caller
            # UUIDs compare without regard to case; tokens carry the canonical form.
            tenant_id = request.tenant_id.lower() if has_tenant else principal.tenant_id
            roles = self._roles(principal, tenant_id)
            call.tenant_id = tenant_id
            if not principal.is_platform and not holds(roles, permission):
                raise denied(permission)

        return authorize

    def _roles(self, principal: Principal, tenant_id: str | None) -> tuple[str, ...]:
        """The caller's roles in the tenant of the call. Raises NotFound for a stranger."""
        if not tenant_id:
            raise Denied("This call needs a tenant: create one, or switch to one.", reason=Reason.REASON_TENANT_MISSING)
        if principal.tenant_id == tenant_id or principal.is_platform:
            return principal.roles
        if principal.tenant_id is None:
            roles = self._roles_in(tenant_id, principal.user_id)
            if roles is not None:
                return roles
        raise not_found(TENANT, tenant_id)


def denied(permission: str) -> Problem:
    """The problem of a permission that is missing."""
    return Denied(f"This needs the permission `{permission}`.", metadata={"permission": permission})


def _platform_guard(method: MethodPolicy) -> Guard:
    def authorize(call: Call, _: Any) -> None:
        if not call.caller.is_platform:
            raise denied(method.permission)

    return authorize


def _refuse_all(_call: Call, _request: Any) -> None:
    raise Unauthenticated("No provider's signature is known.")
