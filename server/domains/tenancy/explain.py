"""Explanations of access in a tenant: the facts that decide a call, read again and named."""

from collections.abc import Iterable, Iterator, Mapping

from plinth.tenancy.v1.role_pb2 import ExplainAccessRequest, Explanation, Grant
from plinth.types.v1 import explanation_pb2
from sqlalchemy import Text, any_, bindparam, false, select
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Statement
from server.domains.tenancy.tables import memberships, roles
from server.kernel.call import Call
from server.kernel.explaining import FAIL, Explaining
from server.kernel.guard import Permissions
from server.kernel.ports import KeyGrants
from server.kernel.problems import Violation, broken_rules, not_found
from server.kernel.roles import granting_pattern

API_KEY_TYPE = "plinth.dev/ApiKey"
USER_TYPE = "plinth.dev/User"
# Sources of permissions that are considered beside roles.
PLATFORM, API_KEY = "platform", "api_key"
EVERYTHING = "*"
STEPS: Mapping[int, str] = {
    Grant.SOURCE_BUILT_IN_ROLE: "role",
    Grant.SOURCE_CUSTOM_ROLE: "role",
    Grant.SOURCE_API_KEY: API_KEY,
    Grant.SOURCE_PLATFORM: PLATFORM,
}
# A tenant may create any number of roles.
MOST_NAMED = 200

_id = UUID(as_uuid=False)
HELD = Statement(
    select(memberships.c.roles).where(
        memberships.c.tenant_id == bindparam("within", type_=_id),
        memberships.c.user_id == bindparam("member", type_=_id),
    )
)
ALLOWING = Statement(
    select(roles.c.name)
    .where(roles.c.tenant_id == bindparam("within", type_=_id), roles.c.built_in == false())
    .where(bindparam("permission", type_=Text()) == any_(roles.c.permissions))
    .order_by(roles.c.name)
)


class Explainer:
    """Explains access."""

    def __init__(self, permissions: Permissions, keys: KeyGrants) -> None:
        self._permissions = permissions
        self._keys = keys

    def explain(self, call: Call, request: ExplainAccessRequest) -> Explanation:
        """Whether a user or API key has a permission in the tenant of the call, and why.

        Raises RuleViolated and NotFound.
        """
        permission = request.permission
        if permission not in self._permissions.every:
            raise broken_rules([unknown_permission("permission")])
        custom = [row["name"] for row in call.reads.run(ALLOWING, within=call.tenant_id, permission=permission).all()]
        built_in = [role for role, held in self._permissions.built_in.items() if permission in held]
        allowing = built_in + custom[:MOST_NAMED]
        explanation = Explanation(permission=permission, tenant_id=call.tenant_id, roles_that_allow=allowing)
        key_id = request.api_key_id or ("" if request.user_id else call.caller.api_key_id)
        if key_id:
            self._explain_key(call, key_id, explanation)
        else:
            self._explain_user(call, request.user_id.lower() or call.caller.user_id, explanation, custom)
        explanation.allowed = bool(explanation.grants)
        if not explanation.allowed:
            fact = "the API key does not hold it" if key_id else "no role of the user holds it"
            explanation.missing = f"The permission `{permission}` is missing: {fact}."
        explanation.explanation.CopyFrom(_in_one_shape(explanation, is_key=bool(key_id)))
        return explanation

    def _explain_key(self, call: Call, key_id: str, explanation: Explanation) -> None:
        key = self._keys.of(call, key_id)
        if key is None:
            raise not_found(API_KEY_TYPE, key_id)
        explanation.considered.append(API_KEY)
        if explanation.permission in key["permissions"]:
            explanation.grants.add(source=Grant.SOURCE_API_KEY, name=key["name"], rule=explanation.permission)

    def _explain_user(self, call: Call, user_id: str, explanation: Explanation, custom: list[str]) -> None:
        # Known for the caller only. In a tenant, other users have what their membership gives them.
        is_platform = call.caller.is_platform and user_id == call.caller.user_id
        membership = call.reads.run(HELD, within=call.tenant_id, member=user_id).first()
        if membership is None and not is_platform:
            raise not_found(USER_TYPE, user_id)
        held = membership["roles"] if membership else []
        explanation.considered.extend(held)
        explanation.grants.extend(self._grants(explanation.permission, held, custom))
        if is_platform:
            explanation.considered.append(PLATFORM)
            explanation.grants.add(source=Grant.SOURCE_PLATFORM, name=PLATFORM, rule=EVERYTHING)

    def _grants(self, permission: str, held: Iterable[str], custom: list[str]) -> Iterator[Grant]:
        for role in held:
            if permission in self._permissions.built_in.get(role, ()):
                rule = granting_pattern(self._permissions.patterns[role], permission)
                yield Grant(source=Grant.SOURCE_BUILT_IN_ROLE, name=role, rule=rule)
            elif role in custom:
                yield Grant(source=Grant.SOURCE_CUSTOM_ROLE, name=role, rule=permission)


def _in_one_shape(access: Explanation, *, is_key: bool) -> explanation_pb2.Explanation:
    """The sources that grant the permission, or else all that were checked."""
    found = Explaining()
    for grant in access.grants:
        found.passed(STEPS[grant.source], "HOLDS", rule=grant.name, value=grant.rule)
    if access.allowed:
        return found.answer
    if is_key:
        unless = f"An API key is made with the permission `{access.permission}`."
        return found.stopped("api_key", FAIL, "LACKS", value=access.permission, unless=unless).answer
    unless = f"A role of the user gets `{access.permission}`, or the user gets one of `roles_that_allow`."
    if not access.considered:
        found.stopped("role", FAIL, "NO_ROLE", value=access.permission, unless=unless)
    for role in access.considered:
        found.stopped("role", FAIL, "LACKS", rule=role, value=access.permission, unless=unless)
    return found.answer


def unknown_permission(path: str) -> Violation:
    """The violation of an unknown permission in the field at this path."""
    return Violation(path, "is not in the catalogue of permissions", "permission.unknown")
