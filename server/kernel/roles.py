"""Built-in roles: the roles that every tenant has from the start (decisions.md 3).

The owner holds every permission. Administrators hold all that no domain excludes. Each domain declares in its module.py
what the other roles hold.
"""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

OWNER, ADMIN = "owner", "admin"
EVERYTHING = "*"
ORDINARY_ROLES = ("editor", "member", "viewer", "employee", "partner")
"""Those that hold only what domains declare."""
BUILT_IN_ROLES = (OWNER, ADMIN, *ORDINARY_ROLES)

Patterns = tuple[str, ...]
"""Permissions such as `sites.*.read`. A leading `-` removes what an earlier pattern granted."""


def join_roles(declared: Iterable[Mapping[str, Patterns]]) -> dict[str, Patterns]:
    """The patterns of every built-in role, in the order of the domains.

    Raises KeyError for a role that is not built in.
    """
    roles: dict[str, Patterns] = {role: (EVERYTHING,) if role in (OWNER, ADMIN) else () for role in BUILT_IN_ROLES}
    for of_domain in declared:
        for role, patterns in of_domain.items():
            roles[role] += patterns
    return roles


def granting_pattern(patterns: Iterable[str], permission: str) -> str:
    """The pattern that gives a role a permission. The role must have the permission.

    It is the last pattern that matches, because no `-` pattern after it has removed the permission.
    """
    return next(pattern for pattern in reversed(tuple(patterns)) if fnmatchcase(permission, pattern))
