"""Tables of communication."""

from sqlalchemy import (
    ARRAY,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Text,
    text,
)

from server.data.tables import (
    CURRENT_USER,
    IS_PLATFORM,
    OWN_TENANT,
    global_table,
    resource_columns,
    tenant_table,
    time_column,
    uuid_column,
)

_EMPTY = text("''")
HIDDEN = ("user_id", "to_folded", "secret", "message_id", "priority", "doubts", "lease_time", "token")
"""Columns that the resource does not show."""
# Mail of a tenant, and mail about an account, which belongs to no tenant: only its user and the platform see that.
email_messages = global_table(
    "email_messages",
    uuid_column("id"),
    uuid_column("tenant_id", nullable=True),
    # The user whose account it is about.
    uuid_column("user_id", nullable=True),
    Column("to", Text, nullable=False),
    # The address without case, by which an erasure finds it.
    Column("to_folded", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("text", Text, nullable=False),
    # Empty where readers of HTML see the text.
    Column("html", Text, nullable=False, server_default=_EMPTY),
    # The version that made it, which may be deleted by now.
    uuid_column("email_template_version_id", nullable=True),
    # What takes the place of `{secret}` in the text, sealed; NULL once the message was accepted.
    Column("secret", LargeBinary, nullable=True),
    Column("reply_to", Text, nullable=False, server_default=_EMPTY),
    # The header Message-ID, the same in every attempt.
    Column("message_id", Text, nullable=False),
    Column("status", SmallInteger, nullable=False),
    # What is sent first: 0 is a code that somebody waits for, 1 is the rest.
    Column("priority", SmallInteger, nullable=False, server_default=text("1")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    # Attempts whose outcome was unknown.
    Column("doubts", Integer, nullable=False, server_default=text("0")),
    Column("last_answer", Text, nullable=False, server_default=_EMPTY),
    time_column("next_attempt_time", nullable=True),
    # The end of a worker's claim, which also ends the claim of a worker that died.
    time_column("lease_time", nullable=True),
    time_column("accept_time", nullable=True),
    time_column("expire_time"),
    Column("category", SmallInteger, nullable=False, server_default=text("1")),
    # What a receiver unsubscribes by, and a report of a server names the message by. NULL in mail about an account.
    Column("token", Text, nullable=True),
    *resource_columns(soft_delete=False),
    PrimaryKeyConstraint("id"),
    ForeignKeyConstraint(["tenant_id"], ["tenants.id"], ondelete="CASCADE"),
    row_security=f"{OWN_TENANT} OR (tenant_id IS NULL AND user_id = {CURRENT_USER}) OR {IS_PLATFORM}",
)
_c = email_messages.c
Index("email_messages_create_time_idx", _c.tenant_id, _c.create_time, _c.id)
Index("email_messages_to_folded_idx", _c.tenant_id, _c.to_folded)
Index("email_messages_user_id_idx", _c.user_id, _c.id, postgresql_where=_c.user_id.is_not(None))
Index("email_messages_token_key", _c.token, unique=True, postgresql_where=_c.token.is_not(None))
# Finished messages by age, for their retention.
Index("email_messages_expire_time_idx", _c.expire_time)
# Messages that wait for an SMTP server. 8 is STATUS_HELD.
Index("email_messages_held_idx", _c.id, postgresql_where=_c.status == text("8"))
# What a worker may claim: whatever has a next attempt. A message that has ended has none.
Index(
    "email_messages_next_attempt_time_idx",
    _c.priority,
    _c.next_attempt_time,
    postgresql_where=_c.next_attempt_time.is_not(None),
)

# Addresses that get no mail from a tenant. They are compared by a hash, which outlasts the erasure of a person.
email_suppressions = tenant_table(
    "email_suppressions",
    # Empty once the person was erased.
    Column("address", Text, nullable=False),
    # SHA-256 of the tenant and the address without case: `suppressions.address_hash`.
    Column("address_hash", LargeBinary, nullable=False),
    # 0 is all mail.
    Column("category", SmallInteger, nullable=False, server_default=text("0")),
    Column("reason", SmallInteger, nullable=False),
    uuid_column("email_message_id", nullable=True),
    time_column("expire_time", nullable=True),
)
_s = email_suppressions.c
Index(
    "email_suppressions_address_key",
    *(_s.tenant_id, _s.address_hash, _s.category, _s.reason),
    unique=True,
)
Index("email_suppressions_create_time_idx", _s.tenant_id, _s.create_time, _s.id)
Index("email_suppressions_expire_time_idx", _s.expire_time)

# Templates of mail: their drafts.
email_templates = tenant_table(
    "email_templates",
    Column("key", Text, nullable=False),
    Column("locale", Text, nullable=False),
    Column("display_name", Text, nullable=False, server_default=_EMPTY),
    Column("subject", Text, nullable=False),
    Column("mjml", Text, nullable=False, server_default=_EMPTY),
    Column("text", Text, nullable=False, server_default=_EMPTY),
    Column("variables", ARRAY(Text), nullable=False),
    # That of the version which messages are made from. 0 before the first.
    Column("version_number", Integer, nullable=False, server_default=text("0")),
    time_column("publish_time", nullable=True),
)
_t = email_templates.c
Index("email_templates_key_key", _t.tenant_id, _t.key, _t.locale, unique=True)
Index("email_templates_create_time_idx", _t.tenant_id, _t.create_time, _t.id)
Index("email_templates_key_idx", _t.tenant_id, _t.key, _t.id)

# Templates as they were published.
email_template_versions = tenant_table(
    "email_template_versions",
    uuid_column("email_template_id"),
    Column("number", Integer, nullable=False),
    Column("subject", Text, nullable=False),
    Column("mjml", Text, nullable=False),
    # What the MJML became.
    Column("html", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("variables", ARRAY(Text), nullable=False),
    ForeignKeyConstraint(
        ["tenant_id", "email_template_id"], ["email_templates.tenant_id", "email_templates.id"], ondelete="CASCADE"
    ),
)
_v = email_template_versions.c
Index("email_template_versions_number_key", _v.tenant_id, _v.email_template_id, _v.number, unique=True)
