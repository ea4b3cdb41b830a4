"""The roles every tenant has from its first moment (decisions.md 3), as patterns over the permission catalogue."""

from fnmatch import fnmatchcase

BUILT_IN_ROLES: dict[str, tuple[str, ...]] = {
    "owner": ("*",),
    "admin": ("*", "-tenancy.tenants.delete"),
    "editor": ("sites.*", "tenancy.tenants.read", "tenancy.branding.*"),
    "member": ("sites.*.read", "tenancy.*.read"),
    "viewer": ("sites.*.read", "tenancy.*.read"),
    "employee": ("sites.*.read", "tenancy.*.read"),
    "partner": ("sites.*.read",),
}


def granting_pattern(role: str, permission: str) -> str:
    """The pattern by which a built-in role has a permission that it does have.

    It is the last one that matches: no `-` pattern after it has taken the permission away.
    """
    patterns = BUILT_IN_ROLES[role]
    return next(pattern for pattern in reversed(patterns) if fnmatchcase(permission, pattern))
