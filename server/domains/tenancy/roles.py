"""The roles every tenant has from its first moment (decisions.md 3), as patterns over the permission catalogue."""

BUILT_IN_ROLES: dict[str, tuple[str, ...]] = {
    "owner": ("*",),
    "admin": ("*", "-tenancy.tenants.delete"),
    "editor": ("sites.*", "tenancy.tenants.read", "tenancy.branding.*"),
    "member": ("sites.*.read", "tenancy.*.read"),
    "viewer": ("sites.*.read", "tenancy.*.read"),
    "employee": ("sites.*.read", "tenancy.*.read"),
    "partner": ("sites.*.read",),
}
