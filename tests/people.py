"""Many people of one tenant, made by SQL: signing up takes a password hash for each."""

from collections.abc import Sequence
from dataclasses import replace

from server.kernel.guard.tokens import AccessTokens
from server.kernel.ids import new_id
from tests.clients import Tenant, database

TOKEN_LIFETIME = 7200
"""Seconds. A stack in which they call has to be told (`access_token_lifetime`)."""
USERS = """
INSERT INTO users (id, email, password_hash, first_name, last_name)
SELECT id, id || '@example.com', 'none', 'Ada', 'Lovelace' FROM unnest(%(users)s::uuid[]) AS told (id)
"""
MEMBERS = """
INSERT INTO memberships (tenant_id, user_id, roles) SELECT %(tenant)s, unnest(%(users)s::uuid[]), '{member}'
"""
SESSIONS = """
INSERT INTO sessions (id, user_id, current_tenant_id, rotate_time, expire_time)
SELECT session, person, %(tenant)s, now(), now() + interval '1 day'
  FROM unnest(%(sessions)s::uuid[], %(users)s::uuid[]) AS told (session, person)
"""


def new_people(tenant: Tenant, count: int) -> list[str]:
    """The ids of new members."""
    users = [new_id() for _ in range(count)]
    with database(tenant.stack) as connection:
        for statement in (USERS, MEMBERS):
            connection.execute(statement.encode(), {"tenant": tenant.id, "users": users})
    return users


def access_tokens(tenant: Tenant, users: Sequence[str]) -> list[str]:
    """An access token of each, in a session of its own."""
    settings = tenant.stack.settings
    tokens = AccessTokens(settings.secrets, issuer=settings.token_issuer, lifetime=TOKEN_LIFETIME)
    owner, sessions = tokens.verify(tenant.access_token), [new_id() for _ in users]
    with database(tenant.stack) as connection:
        values = {"tenant": tenant.id, "users": list(users), "sessions": sessions}
        connection.execute(SESSIONS.encode(), values)
    return [
        tokens.issue(replace(owner, user_id=user, session_id=session, roles=("member",)))
        for user, session in zip(users, sessions, strict=True)
    ]
