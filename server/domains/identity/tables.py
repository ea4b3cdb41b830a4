"""Tables of identity.

Users and their sessions are global: a user may belong to many tenants, or to none yet. API keys belong to a tenant.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Text,
    and_,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

from server.data.tables import (
    IS_PLATFORM,
    OWN_TENANT,
    global_table,
    resource_columns,
    tenant_table,
    time_column,
    uuid_column,
)

# A key is looked up before its tenant is known, and usage is written for many tenants at once.
KEY_WALL = f"{OWN_TENANT} OR {IS_PLATFORM}"

users = global_table(
    "users",
    uuid_column("id", primary_key=True),
    Column("email", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("first_name", Text, nullable=False, server_default=text("''")),
    Column("last_name", Text, nullable=False, server_default=text("''")),
    Column("is_platform", Boolean, nullable=False, server_default=text("false")),
    time_column("last_login_time", nullable=True),
    uuid_column("last_tenant_id", nullable=True),
    # When the user last proved that the address is theirs.
    time_column("email_verify_time", nullable=True),
    *resource_columns(soft_delete=True),
)
# Addresses are stored as typed (normalised by email-validator) and compared ignoring case.
Index("users_email_key", func.lower(users.c.email), unique=True, postgresql_where=users.c.delete_time.is_(None))
# Filters compare addresses as they are.
Index("users_email_idx", users.c.email)
Index("users_create_time_idx", users.c.create_time, users.c.id)

sessions = global_table(
    "sessions",
    uuid_column("id", primary_key=True),
    uuid_column("user_id"),
    uuid_column("current_tenant_id", nullable=True),
    Column("counter", BigInteger, nullable=False, server_default=text("0")),
    time_column("rotate_time"),
    time_column("expire_time"),
    time_column("end_time", nullable=True),
    Column("end_reason", Text, nullable=False, server_default=text("''")),
    Column("ip", Text, nullable=False, server_default=text("''")),
    Column("user_agent", Text, nullable=False, server_default=text("''")),
    time_column("create_time", server_default=text("now()")),
    # When the user last proved who they are.
    time_column("auth_time", server_default=text("now()")),
    ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
)
Index("sessions_user_id_idx", sessions.c.user_id)
Index("sessions_expire_time_idx", sessions.c.expire_time)

sign_in_networks = global_table(
    "sign_in_networks",
    uuid_column("user_id"),
    # An IPv4 address, or the /64 of an IPv6 address.
    Column("network", Text, nullable=False),
    time_column("last_time", server_default=text("now()")),
    PrimaryKeyConstraint("user_id", "network"),
    ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
)
Index("sign_in_networks_last_time_idx", sign_in_networks.c.last_time)

# The authenticator app of a user, and the one that shall replace it.
authenticators = global_table(
    "authenticators",
    uuid_column("user_id", primary_key=True),
    # Sealed; NULL until the first one is confirmed.
    Column("secret", LargeBinary),
    time_column("enable_time", nullable=True),
    # Sealed; NULL but between StartTotp and ConfirmTotp.
    Column("next_secret", LargeBinary),
    time_column("next_expire_time", nullable=True),
    # The time step of the last code that was taken (RFC 6238): none works twice.
    Column("last_step", BigInteger, nullable=False, server_default=text("0")),
    # Wrong codes since the last right one.
    Column("failures", Integer, nullable=False, server_default=text("0")),
    time_column("lock_expire_time", nullable=True),
    ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
)

recovery_codes = global_table(
    "recovery_codes",
    uuid_column("user_id"),
    Column("code_hash", LargeBinary, nullable=False),
    time_column("use_time", nullable=True),
    PrimaryKeyConstraint("user_id", "code_hash"),
    ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
)

passkeys = global_table(
    "passkeys",
    uuid_column("id", primary_key=True),
    uuid_column("user_id"),
    Column("credential_id", LargeBinary, nullable=False),
    # With its id, as the authenticator has attested it (WebAuthn, attestedCredentialData).
    Column("credential", LargeBinary, nullable=False),
    Column("sign_count", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("is_synced", Boolean, nullable=False),
    time_column("create_time", server_default=text("now()")),
    time_column("last_use_time", nullable=True),
    ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
)
Index("passkeys_credential_id_key", passkeys.c.credential_id, unique=True)
Index("passkeys_user_id_idx", passkeys.c.user_id, passkeys.c.create_time)

# Who somebody is at other providers.
federated_identities = global_table(
    "federated_identities",
    uuid_column("id", primary_key=True),
    uuid_column("user_id"),
    Column("provider", Text, nullable=False),
    # The id of the person there.
    Column("subject", Text, nullable=False),
    Column("email", Text, nullable=False),
    time_column("create_time", server_default=text("now()")),
    time_column("last_use_time", nullable=True),
    ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
)
Index(
    "federated_identities_subject_key",
    *(federated_identities.c.provider, federated_identities.c.subject),
    unique=True,
)
Index("federated_identities_user_id_idx", federated_identities.c.user_id, federated_identities.c.create_time)

# Challenges that a passkey has answered: none is taken twice.
used_challenges = global_table(
    "used_challenges",
    Column("challenge", LargeBinary, primary_key=True),
    time_column("expire_time"),
)
Index("used_challenges_expire_time_idx", used_challenges.c.expire_time)

# Mail about accounts: the tokens in it, and how much of it there was.
account_letters = global_table(
    "account_letters",
    uuid_column("id", primary_key=True),
    uuid_column("user_id"),
    # The numbers of Kind in letters.py.
    Column("kind", SmallInteger, nullable=False),
    # The keyed hash of the token in it; NULL without one.
    Column("token_hash", LargeBinary, nullable=True),
    # The address that it went to, without case.
    Column("address", Text, nullable=False),
    time_column("expire_time"),
    time_column("use_time", nullable=True),
    time_column("create_time", server_default=text("now()")),
    ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
)
Index("account_letters_token_hash_key", account_letters.c.token_hash, unique=True)
Index(
    "account_letters_user_id_idx",
    account_letters.c.user_id,
    account_letters.c.kind,
    account_letters.c.create_time,
)
Index("account_letters_expire_time_idx", account_letters.c.expire_time)

api_keys = tenant_table(
    "api_keys",
    Column("name", Text, nullable=False),
    Column("environment", SmallInteger, nullable=False),
    Column("permissions", ARRAY(Text), nullable=False),
    Column("prefix", Text, nullable=False),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("previous_prefix", Text, nullable=False, server_default=text("''")),
    Column("previous_hash", LargeBinary),
    time_column("previous_expire_time", nullable=True),
    time_column("expire_time", nullable=True),
    time_column("last_use_time", nullable=True),
    time_column("revoke_time", nullable=True),
    Column("calls_per_minute", Integer, nullable=False, server_default=text("0")),
    Column("create_user_id", Text, nullable=False, server_default=text("''")),
    Column("create_api_key_id", Text, nullable=False, server_default=text("''")),
    Column("origin_user_id", Text, nullable=False, server_default=text("''")),
    # The ancestors of the key, its maker last.
    Column("ancestor_ids", ARRAY(UUID(as_uuid=False)), nullable=False, server_default=text("'{}'")),
    row_security=KEY_WALL,
)
# Looked up without a tenant. 48 random bits make prefixes distinct, and the index enforces it.
Index("api_keys_prefix_key", api_keys.c.prefix, unique=True)
Index(
    "api_keys_previous_prefix_key",
    api_keys.c.previous_prefix,
    unique=True,
    postgresql_where=api_keys.c.previous_prefix != text("''"),
)
Index("api_keys_create_time_idx", api_keys.c.tenant_id, api_keys.c.create_time, api_keys.c.id)
for _maker in ("create_user_id", "create_api_key_id", "origin_user_id"):
    Index(f"api_keys_{_maker}_idx", api_keys.c.tenant_id, api_keys.c[_maker])
Index("api_keys_name_idx", api_keys.c.tenant_id, api_keys.c.name, api_keys.c.id)

# Accepting looks an invitation up before its tenant is known.
invitations = tenant_table(
    "invitations",
    Column("email", Text, nullable=False),
    Column("email_folded", Text, nullable=False),
    Column("roles", ARRAY(Text), nullable=False),
    Column("message", Text, nullable=False, server_default=text("''")),
    Column("first_name", Text, nullable=False, server_default=text("''")),
    Column("last_name", Text, nullable=False, server_default=text("''")),
    uuid_column("invite_user_id", nullable=True),
    # The keyed hash of the token in the newest mail; NULL once it was accepted.
    Column("token_hash", LargeBinary, nullable=True),
    time_column("accept_time", nullable=True),
    uuid_column("accept_user_id", nullable=True),
    time_column("expire_time"),
    row_security=KEY_WALL,
)
Index("invitations_token_hash_key", invitations.c.token_hash, unique=True)
Index("invitations_create_time_idx", invitations.c.tenant_id, invitations.c.create_time, invitations.c.id)
Index(
    "invitations_open_idx",
    *(invitations.c.tenant_id, invitations.c.create_time, invitations.c.id),
    postgresql_where=invitations.c.accept_time.is_(None),
)
Index("invitations_email_folded_idx", invitations.c.tenant_id, invitations.c.email_folded)
Index("invitations_email_idx", invitations.c.tenant_id, invitations.c.email)
Index("invitations_expire_time_idx", invitations.c.expire_time)

_EMPTY = text("''")
employees = tenant_table(
    "employees",
    Column("number", Text, nullable=False, server_default=_EMPTY),
    Column("first_name", Text, nullable=False, server_default=_EMPTY),
    Column("last_name", Text, nullable=False),
    Column("email", Text, nullable=False, server_default=_EMPTY),
    Column("phone", Text, nullable=False, server_default=_EMPTY),
    Column("job_title", Text, nullable=False, server_default=_EMPTY),
    Column("department", Text, nullable=False, server_default=_EMPTY),
    Column("employment", SmallInteger, nullable=False, server_default=text("0")),
    Column("status", SmallInteger, nullable=False),
    Column("hire_date", Date, nullable=True),
    Column("end_date", Date, nullable=True),
    uuid_column("manager_id", nullable=True),
    uuid_column("user_id", nullable=True),
    soft_delete=True,
)
_e = employees.c
Index(
    "employees_number_key",
    *(_e.tenant_id, _e.number),
    unique=True,
    postgresql_where=and_(_e.delete_time.is_(None), _e.number != _EMPTY),
)
Index("employees_user_id_key", *(_e.tenant_id, _e.user_id), unique=True, postgresql_where=_e.delete_time.is_(None))
for _name in ("create_time", "last_name", "department", "email", "manager_id", "hire_date"):
    Index(f"employees_{_name}_idx", _e.tenant_id, _e[_name], _e.id)
Index("employees_user_id_idx", _e.tenant_id, _e.user_id)

_OF_MEMBER = ["memberships.tenant_id", "memberships.user_id"]
user_profiles = tenant_table(
    "user_profiles",
    uuid_column("user_id"),
    *(
        Column(name, Text, nullable=False, server_default=_EMPTY)
        for name in ("display_name", "bio", "avatar_url", "phone")
    ),
    Column("birth_date", Date, nullable=True),
    *(
        Column(name, Text, nullable=False, server_default=_EMPTY)
        for name in ("location", "country", "job_title", "company", "website_url")
    ),
    ForeignKeyConstraint(["tenant_id", "user_id"], _OF_MEMBER, ondelete="CASCADE"),
)
Index("user_profiles_user_id_idx", user_profiles.c.tenant_id, user_profiles.c.user_id)
user_preferences = tenant_table(
    "user_preferences",
    uuid_column("user_id"),
    *(Column(name, Text, nullable=False, server_default=_EMPTY) for name in ("language", "time_zone", "currency")),
    *(
        Column(name, SmallInteger, nullable=False, server_default=text("0"))
        for name in ("theme", "units", "clock", "week_start")
    ),
    Column("reduced_motion", Boolean, nullable=False, server_default=text("false")),
    Column("settings", JSONB),
    ForeignKeyConstraint(["tenant_id", "user_id"], _OF_MEMBER, ondelete="CASCADE"),
)
Index("user_preferences_user_id_idx", user_preferences.c.tenant_id, user_preferences.c.user_id)
terms_acceptances = tenant_table(
    "terms_acceptances",
    uuid_column("user_id"),
    Column("document", Text, nullable=False),
    Column("document_version", Text, nullable=False),
)
_t = terms_acceptances.c
Index(
    "terms_acceptances_document_key",
    *(_t.tenant_id, _t.user_id, _t.document, _t.document_version),
    unique=True,
)
Index("terms_acceptances_user_create_time_idx", _t.tenant_id, _t.user_id, _t.create_time, _t.id)
Index("terms_acceptances_create_time_idx", _t.tenant_id, _t.create_time, _t.id)

api_key_usage = global_table(
    "api_key_usage",
    uuid_column("tenant_id"),
    uuid_column("api_key_id"),
    # The day in UTC, `2026-11-21`: as text it sorts, and needs no time zone.
    Column("day", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("calls", BigInteger, nullable=False),
    Column("failures", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant_id", "api_key_id", "day", "method"),
    ForeignKeyConstraint(["tenant_id", "api_key_id"], ["api_keys.tenant_id", "api_keys.id"], ondelete="CASCADE"),
    row_security=KEY_WALL,
)
Index("api_key_usage_day_idx", api_key_usage.c.day)
