"""Built-in roles: those that every tenant has from its first moment (decisions.md 3).

The owner holds everything, and administrators what no domain takes from them. What the other roles hold, each domain
declares in its module.py.
"""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

OWNER, ADMIN = "owner", "admin"
EVERYTHING = "*"
BUILT_IN_ROLES = (OWNER, ADMIN, "editor", "member", "viewer", "employee", "partner")

Patterns = tuple[str, ...]
"""Permissions such as `sites.*.read`; a leading `-` takes away what an earlier pattern gave."""


def join_roles(declared: Iterable[Mapping[str, Patterns]]) -> dict[str, Patterns]:
    """The patterns of every built-in role, in the order of the domains. Raises KeyError for another role."""
    roles: dict[str, Patterns] = {role: (EVERYTHING,) if role in (OWNER, ADMIN) else () for role in BUILT_IN_ROLES}
    for of_domain in declared:
        for role, patterns in of_domain.items():
            roles[role] += patterns
    return roles


def granting_pattern(patterns: Iterable[str], permission: str) -> str:
    """The pattern by which a role has a permission that it does have.

    It is the last one that matches: no `-` pattern after it has taken the permission away.
    """
    return next(pattern for pattern in reversed(tuple(patterns)) if fnmatchcase(permission, pattern))
