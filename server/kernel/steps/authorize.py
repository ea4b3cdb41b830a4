"""authorise: decides whether the caller may make the call, and in which tenant.

It comes before validate, so that a caller without access learns nothing.
"""

import re
from dataclasses import replace

from server.data.transactions import ScopeEnded
from server.kernel.actors import PROVIDER
from server.kernel.call import Call, Principal
from server.kernel.chain import Answer, Before, Guard, Request, Unary
from server.kernel.clock import Clock, utc_now
from server.kernel.guard.access import AccessMemory
from server.kernel.ids import is_id
from server.kernel.policy import Access, MethodPolicy
from server.kernel.problems import Conflict, Denied, Problem, Reason, Unauthenticated, not_found

TENANT = "plinth.dev/Tenant"
NO_TENANT = ""
# How often a call is decided at most, if its tenant's access changes while it runs.
DECISIONS = 3
STEP_UP_LIFETIME = 3600
IS_SUBDOMAIN = re.compile("[a-z0-9][a-z0-9-]{1,61}[a-z0-9]").fullmatch


class Authorize(Before):
    """Decides by the policy. Sets the tenant of the call, and the access by which it was allowed.

    The first statement of a call confirms the decision in the database. If the tenant's access has changed since it was
    loaded, nothing was read or written, and the call is decided anew.
    """

    name = "authorize"

    def __init__(self, memory: AccessMemory, step_up: int = STEP_UP_LIFETIME, clock: Clock = utc_now) -> None:
        """`step_up` is the seconds for which a user's proof of who they are counts as recent."""
        self._memory = memory
        self._step_up = step_up
        self._clock = clock

    def unary(self, method: MethodPolicy, proceed: Unary) -> Unary:
        """Decide, and decide anew if access changes in the meantime."""
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
        """Decide again for a long-running call, with access loaded anew. Raises the problem of a refusal."""
        self.forget(call)
        self.glance(call)

    def forget(self, call: Call) -> None:
        """Load the access of a running call's caller anew the next time."""
        if call.tenant_id is not None:
            self._memory.forget(call.caller, call.tenant_id)

    def glance(self, call: Call) -> None:
        """The same as recheck, but access is loaded only if the generations show a change."""
        if call.method.access is Access.PLATFORM:
            self._memory.forget(call.caller, NO_TENANT)
            self._platform_decision(call.method)(call, None)
        if call.access is None or call.tenant_id is None:
            return
        if call.access.version is None:
            # Generations do not show that a user has stopped being a platform administrator.
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
        decide = self._access_decision(method)
        if decide is None or not method.step_up:
            return decide

        def authorize(call: Call, request: Request) -> None:
            decide(call, request)
            caller = call.caller
            if not caller.api_key_id and caller.proven_at + self._step_up < self._clock().timestamp():
                raise step_up_required(self._step_up)

        return authorize

    def _access_decision(self, method: MethodPolicy) -> Guard | None:
        if method.access is Access.PUBLIC:
            return None
        if method.access is Access.SIGNED_IN:
            # Not bound to a tenant: a user whose tenant was deleted can still log out or switch tenants.
            return self._anyone_decision() if method.takes_api_keys else self._user_decision()
        if method.access is Access.PERMISSION:
            return self._permission_decision(method)
        if method.access is Access.PLATFORM:
            return self._platform_decision(method)
        return _signed

    def _user_decision(self) -> Guard:
        get = self._memory.get

        def authorize(call: Call, _: Request) -> None:
            caller = call.caller
            if caller.api_key_id:
                raise Denied("Only a person can do this: sign in.", reason=Reason.REASON_USER_REQUIRED)
            if caller.is_platform and get(caller, NO_TENANT) is None:
                # No longer an administrator, even if the token says so.
                call.principal = replace(caller, is_platform=False)

        return authorize

    def _anyone_decision(self) -> Guard:
        """Let in users and API keys, with the permissions that they have in the tenant of their credentials."""
        get, of_users = self._memory.get, self._user_decision()

        def authorize(call: Call, request: Request) -> None:
            if not call.caller.api_key_id:
                of_users(call, request)
            tenant_id = call.caller.tenant_id
            access = get(call.caller, tenant_id) if tenant_id else None
            if access is not None:
                call.tenant_id, call.access = tenant_id, access

        return authorize

    def _permission_decision(self, method: MethodPolicy) -> Guard:
        permission, has_tenant, get = method.permission, method.has_tenant, self._memory.get
        platform_wide = method.platform_wide

        def authorize(call: Call, request: Request) -> None:
            principal = call.caller
            named = self._tenant_named(principal, request) if has_tenant else ""
            if platform_wide and principal.is_platform and not named:
                call.access = get(principal, NO_TENANT)
                if call.access is not None:
                    return
            tenant_id = named or principal.tenant_id
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
        names_tenant = "tenant_id" in method.descriptor.input_type.fields_by_name

        def authorize(call: Call, request: Request) -> None:
            # Checked here, because a call that uses no database would not find out that the session has ended.
            if not call.caller.is_platform or get(call.caller, NO_TENANT) is None:
                raise denied(permission)
            if names_tenant and request is not None:
                self._tenant_named(call.caller, request)

        return authorize

    def _tenant_named(self, principal: Principal, request: Request) -> str:
        """The id of the tenant that a request names by its id or by its subdomain; empty if it names none.

        All that comes later sees the id. Raises NotFound for a subdomain that the caller may know nothing of.
        """
        # Equality of UUIDs ignores case; tokens hold the canonical form.
        named: str = request.tenant_id.lower()
        if not named or is_id(named):
            return named
        if not IS_SUBDOMAIN(request.tenant_id):
            # The rules say what is wrong with it, to those who have access at all.
            return named
        found = self._memory.tenant_at(principal, named)
        if found is None:
            raise not_found(TENANT, named)
        request.tenant_id = found
        return found


def denied(permission: str) -> Problem:
    """The problem of a missing permission."""
    return Denied(f"This needs the permission `{permission}`.", metadata={"permission": permission})


def step_up_required(seconds: int) -> Problem:
    """The problem of a user who has not proven lately who they are."""
    return Denied(
        "Prove again who you are: call StepUp, and try again with its access token.",
        reason=Reason.REASON_STEP_UP_REQUIRED,
        metadata={"max_age_seconds": str(seconds)},
    )


def _signed(call: Call, _request: Request) -> None:
    """Let in what the step `signature` has verified."""
    if call.actor.kind != PROVIDER:
        raise Unauthenticated("The call is not signed.")
