"""authorise: may the caller do this, and in which tenant. Stands before validate, so that a stranger learns nothing."""

from dataclasses import replace

from server.data.transactions import ScopeEnded
from server.kernel.call import Call
from server.kernel.chain import Answer, Before, Guard, Request, Unary
from server.kernel.guard.access import AccessMemory
from server.kernel.policy import Access, MethodPolicy
from server.kernel.problems import Conflict, Denied, Problem, Reason, Unauthenticated, not_found

TENANT = "plinth.dev/Tenant"
NO_TENANT = ""
# How often a call is decided anew because its tenant's access changed while it ran.
DECISIONS = 3


class Authorize(Before):
    """Decides by the policy; sets the tenant of the call and the access it was allowed by.

    A call that asks the database has the decision confirmed there, along with its first statement. When the tenant's
    access has changed since it was loaded, nothing was read or written, and the call is decided anew.
    """

    name = "authorize"

    def __init__(self, memory: AccessMemory) -> None:
        self._memory = memory

    def unary(self, method: MethodPolicy, proceed: Unary) -> Unary:
        """Decide, and decide anew when access has changed meanwhile."""
        decide = self._decision(method)
        if decide is None:
            return proceed

        def authorized(call: Call, request: Request) -> Answer:
            for _ in range(DECISIONS):
                decide(call, request)
                try:
                    return proceed(call, request)
                except ScopeEnded as ended:
                    if ended.what != "access":
                        raise
                    self._start_again(call)
            raise Conflict

        return authorized

    def recheck(self, call: Call) -> None:
        """Whether a call that has been running for a while may go on. Raises what refuses it."""
        self.forget(call)
        self.glance(call)

    def forget(self, call: Call) -> None:
        """Look up anew, the next time, what the caller of a running call may do."""
        if call.tenant_id is not None:
            self._memory.forget(call.caller, call.tenant_id)

    def glance(self, call: Call) -> None:
        """The same, but nobody is asked where nothing has changed, as the generations tell."""
        if call.method.access is Access.PLATFORM:
            self._memory.forget(call.caller, NO_TENANT)
            self._platform_decision(call.method)(call, None)
        if call.access is None or call.tenant_id is None:
            return
        if call.access.version is None:
            # No generation tells who administers the platform no longer.
            self._memory.forget(call.caller, call.tenant_id)
        call.access = self._memory.get(call.caller, call.tenant_id)
        if call.access is None:
            raise not_found(TENANT, call.tenant_id)
        if call.method.permission not in call.access.permissions:
            raise denied(call.method.permission)

    def _start_again(self, call: Call) -> None:
        self.forget(call)
        call.forget_effects()

    def _decision(self, method: MethodPolicy) -> Guard | None:
        if method.access is Access.PUBLIC:
            return None
        if method.access is Access.SIGNED_IN:
            # Bound to no tenant: whoever's tenant is gone can still log out, or go elsewhere.
            return self._user_decision()
        if method.access is Access.PERMISSION:
            return self._permission_decision(method)
        if method.access is Access.PLATFORM:
            return self._platform_decision(method)
        return _refuse_all

    def _user_decision(self) -> Guard:
        get = self._memory.get

        def authorize(call: Call, _: Request) -> None:
            caller = call.caller
            if caller.api_key_id:
                raise Denied("Only a person can do this: sign in.", reason=Reason.REASON_USER_REQUIRED)
            if caller.is_platform and get(caller, NO_TENANT) is None:
                # No longer, whatever the token says.
                call.principal = replace(caller, is_platform=False)

        return authorize

    def _permission_decision(self, method: MethodPolicy) -> Guard:
        permission, has_tenant, get = method.permission, method.has_tenant, self._memory.get

        def authorize(call: Call, request: Request) -> None:
            principal = call.caller
            # UUIDs compare without regard to case; tokens carry the canonical form.
            tenant_id = (request.tenant_id.lower() if has_tenant else "") or principal.tenant_id
            if not tenant_id:
                raise Denied(
                    "This call needs a tenant: create one, or switch to one.", reason=Reason.REASON_TENANT_MISSING
                )
            if principal.tenant_id not in (tenant_id, None) and not principal.is_platform:
                raise not_found(TENANT, tenant_id)
            access = get(principal, tenant_id)
            if access is None:
                raise not_found(TENANT, tenant_id)
            call.tenant_id, call.access = tenant_id, access
            if permission not in access.permissions:
                raise denied(permission)

        return authorize

    def _platform_decision(self, method: MethodPolicy) -> Guard:
        permission, get = method.permission, self._memory.get

        def authorize(call: Call, _: Request) -> None:
            # Not every such call asks the database, where it would turn out that the session has ended.
            if not call.caller.is_platform or get(call.caller, NO_TENANT) is None:
                raise denied(permission)

        return authorize


def denied(permission: str) -> Problem:
    """The problem of a permission that is missing."""
    return Denied(f"This needs the permission `{permission}`.", metadata={"permission": permission})


def _refuse_all(_call: Call, _request: Request) -> None:
    raise Unauthenticated("No provider's signature is known.")
