"""Tables of tenancy: tenants, their memberships, roles, domains and branding."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKeyConstraint,
    Index,
    PrimaryKeyConstraint,
    SmallInteger,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from server.data.quotas import limited_by_plan
from server.data.tables import (
    CURRENT_TENANT,
    CURRENT_USER,
    IS_PLATFORM,
    OWN_TENANT,
    global_table,
    resource_columns,
    tenant_table,
    time_column,
    uuid_column,
)

# Visible inside the tenant, to its members, and to platform administrators.
TENANT_WALL = (
    f"id = {CURRENT_TENANT} OR {IS_PLATFORM} OR EXISTS "
    f"(SELECT 1 FROM memberships m WHERE m.tenant_id = tenants.id AND m.user_id = {CURRENT_USER})"
)
# Visible inside the tenant, to the user of the membership, and to platform administrators.
MEMBERSHIP_WALL = f"tenant_id = {CURRENT_TENANT} OR user_id = {CURRENT_USER} OR {IS_PLATFORM}"

tenants = global_table(
    "tenants",
    uuid_column("id", primary_key=True),
    Column("subdomain", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("sign_up_open", Boolean, nullable=False, server_default=text("false")),
    Column("sign_up_conflict_visible", Boolean, nullable=False, server_default=text("false")),
    Column("settings", JSONB),
    # Grows with every change of access in the tenant: roles, memberships, API keys.
    Column("access_version", BigInteger, nullable=False, server_default=text("1")),
    # Rate classes whose limit differs from that of the deployment: `{"default": [2000, 60]}` (calls, seconds).
    Column("rate_limits", JSONB, nullable=False, server_default=text("'{}'")),
    *resource_columns(soft_delete=True),
    row_security=TENANT_WALL,
)
Index("tenants_delete_time_idx", tenants.c.delete_time, postgresql_where=tenants.c.delete_time.is_not(None))
Index("tenants_subdomain_key", tenants.c.subdomain, unique=True, postgresql_where=tenants.c.delete_time.is_(None))
Index("tenants_create_time_idx", tenants.c.create_time, tenants.c.id)
Index("tenants_name_idx", tenants.c.name, tenants.c.id)

memberships = global_table(
    "memberships",
    uuid_column("tenant_id"),
    uuid_column("user_id"),
    Column("roles", ARRAY(Text), nullable=False),
    *resource_columns(soft_delete=False),
    PrimaryKeyConstraint("tenant_id", "user_id"),
    ForeignKeyConstraint(["tenant_id"], ["tenants.id"], ondelete="CASCADE"),
    row_security=MEMBERSHIP_WALL,
)
limited_by_plan(memberships, "members")
Index("memberships_user_id_idx", memberships.c.user_id, memberships.c.tenant_id)
Index("memberships_create_time_idx", memberships.c.tenant_id, memberships.c.create_time, memberships.c.user_id)

roles = tenant_table(
    "roles",
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=text("''")),
    # Empty for a built-in role, whose permissions are in built_in_roles.py.
    Column("permissions", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("built_in", Boolean, nullable=False, server_default=text("false")),
)
Index("roles_name_key", roles.c.tenant_id, roles.c.name, unique=True)

# Visitors name a host before it is known whose it is.
domains = tenant_table(
    "domains", Column("hostname", Text, nullable=False), row_security=f"{OWN_TENANT} OR {IS_PLATFORM}"
)
Index("domains_hostname_key", domains.c.hostname, unique=True)

custom_domains = tenant_table(
    "custom_domains",
    Column("hostname", Text, nullable=False),
    Column("record_value", Text, nullable=False),
    time_column("verify_time", nullable=True),
    time_column("check_time", nullable=True),
    Column("last_error", Text, nullable=False, server_default=text("''")),
    row_security=f"{OWN_TENANT} OR {IS_PLATFORM}",
)
_c = custom_domains.c
Index("custom_domains_hostname_key", _c.tenant_id, _c.hostname, unique=True)
Index("custom_domains_create_time_idx", _c.tenant_id, _c.create_time, _c.id)
# Of those who named it, it is the one's who has proven it.
Index("custom_domains_verified_key", _c.hostname, unique=True, postgresql_where=_c.verify_time.is_not(None))

brandings = tenant_table(
    "brandings",
    *(
        Column(name, Text, nullable=False, server_default=text("''"))
        for name in (
            "logo_url",
            "favicon_url",
            "primary_color",
            "secondary_color",
            "accent_color",
            "heading_font",
            "body_font",
        )
    ),
)
tenant_settings = tenant_table(
    "tenant_settings",
    # A message for each category.
    Column("general", JSONB),
    Column("reporting", JSONB),
    Column("localization", JSONB),
    Column("mail", JSONB),
)
Index("tenant_settings_tenant_id_key", tenant_settings.c.tenant_id, unique=True)

Index("brandings_tenant_id_key", brandings.c.tenant_id, unique=True)
