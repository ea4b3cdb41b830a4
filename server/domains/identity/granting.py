"""Granting: nobody gives or takes roles beyond what they hold themselves."""

from collections.abc import Sequence

from server.kernel.call import Call
from server.kernel.guard import Permissions
from server.kernel.ports import Memberships
from server.kernel.problems import Violation, broken_rules


class Granting:
    """Decides which roles a caller may give and take."""

    def __init__(self, permissions: Permissions, memberships: Memberships) -> None:
        self._permissions = permissions
        self._memberships = memberships

    def check(self, call: Call, field: str, roles: Sequence[str], before: Sequence[str] = ()) -> None:
        """Check a change from some roles to others, and lock those that it gives or takes against deletion.

        Raises RuleViolated for an unknown role, at its place in `field`, and Denied for one with a permission that the
        caller lacks.
        """
        changed = set(roles) ^ set(before)
        found = self._memberships.roles_named(call.writes, str(call.tenant_id), sorted(changed))
        known = {row["name"] for row in found} | set(before)
        unknown = [
            Violation(f"{field}[{place}]", "is no role of the tenant", "role.unknown")
            for place, name in enumerate(roles)
            if name not in known
        ]
        if unknown:
            raise broken_rules(unknown)
        for row in found:
            call.check_may_grant(self._permissions.of((row["name"],), row["permissions"]))
