"""Refuses a start with another secret than the one under which the database was filled.

A secret that was lost, or that belongs to another deployment, opens nothing that is stored: sessions, API keys and
secrets of webhooks would be refused one by one. The canary is sealed with the signing secret, so that reading it
reveals this at the start.
"""

import secrets
from collections.abc import Callable
from contextlib import suppress

import psycopg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from psycopg import sql

from server.faults import ForeignSecret
from server.kernel.keys import derive_key
from server.secrets import Secrets
from server.settings import Settings

CONNECT_TIMEOUT = 5
NONCE_BYTES = 12
WORD = b"canary"
# How long the count waits for a table that is in use.
LOCK_TIMEOUT = "10s"
Connection = psycopg.Connection[tuple[object, ...]]
# The data that depend on the secret: their name in messages, their table, and the rows that count.
LOSSES = (
    ("sessions", "sessions", "end_time IS NULL AND expire_time > now()"),
    ("API keys", "api_keys", "revoke_time IS NULL AND (expire_time IS NULL OR expire_time > now())"),
    ("secrets of webhooks", "webhooks", "removal_time IS NULL"),
    ("records of idempotency keys", "idempotency_records", "expire_time > now()"),
)


def check(settings: Settings) -> None:
    """Check as the serving role, or as the owner if that role has no login yet. Raises ForeignSecret.

    A database that does not answer may return. One that refuses is reported by the pool that needs it.
    """
    for dsn in (settings.runtime_dsn, settings.owner_dsn):
        with suppress(psycopg.Error):
            with _connect(dsn) as connection:
                settle(connection, settings)
            return


def check_owner(settings: Settings) -> None:
    """Check as the owner. Raises ForeignSecret."""
    with _connect(settings.owner_dsn) as connection:
        settle(connection, settings)


def settle(connection: Connection, settings: Settings) -> None:
    """Write the canary if there is no row, and rewrite one that a previous secret sealed. Raises ForeignSecret."""
    if not _is_there(connection):
        return
    row = connection.execute("SELECT sealed FROM secret_canaries").fetchone()
    if row is None:
        _write(connection, settings.secrets)
        return
    sealed = bytes(row[0])  # type: ignore[call-overload]
    if not any(_opens(secret, sealed) for secret in settings.secrets.accepted):
        raise ForeignSecret(_refusal(settings))
    # Not for a secret that is ahead: a machine that is further in the rotation wrote the canary.
    if not any(_opens(secret, sealed) for secret in settings.secrets.lasting):
        _write(connection, settings.secrets)


def accept(settings: Settings, tell: Callable[[str], object]) -> None:
    """Continue with a secret that opens nothing, and report the losses. Does nothing if the secret is right."""
    try:
        check_owner(settings)
    except ForeignSecret:
        tell(f"the new secret is accepted; lost with the one before: {_losses(settings.owner_dsn)}")
        with _connect(settings.owner_dsn) as connection:
            _write(connection, settings.secrets)


def _refusal(settings: Settings) -> str:
    source = "PLINTH_SECRET_KEY" if settings.secret_key is not None else str(settings.data_dir.resolve() / "secret")
    return (
        f"{source}: the database was filled under another secret. Set that one in PLINTH_SECRET_KEY (or in "
        "PLINTH_SECRET_KEY_PREVIOUS, to rotate); if it is lost, `plinth migrate --accept-new-secret` (or `plinth up "
        "--accept-new-secret`) says what is lost with it, and goes on"
    )


def _losses(dsn: str) -> str:
    """The numbers of rows that depend on the lost secret. Row-level security is suspended for the owner meanwhile."""
    with _connect(dsn, autocommit=False) as connection:
        connection.execute("SELECT set_config('lock_timeout', %s, true)", (LOCK_TIMEOUT,))
        found = []
        for words, table, condition in LOSSES:
            name = sql.Identifier(table)
            connection.execute(sql.SQL("ALTER TABLE {} NO FORCE ROW LEVEL SECURITY").format(name))
            query = sql.SQL("SELECT count(*) FROM {} WHERE ").format(name) + sql.SQL(condition)
            row = connection.execute(query).fetchone()
            found.append(f"{row[0] if row else 0} {words}")
        # The rollback restores row-level security. Other sessions never saw it suspended.
        connection.rollback()
    return ", ".join(found)


def _is_there(connection: Connection) -> bool:
    row = connection.execute("SELECT to_regclass('public.secret_canaries') IS NOT NULL").fetchone()
    return row is not None and row[0] is True


def _write(connection: Connection, given: Secrets) -> None:
    nonce = secrets.token_bytes(NONCE_BYTES)
    sealed = nonce + _cipher(given.signing).encrypt(nonce, WORD, None)
    connection.execute(
        """INSERT INTO secret_canaries (sealed) VALUES (%s)
           ON CONFLICT (id) DO UPDATE SET sealed = excluded.sealed, update_time = now()""",
        (sealed,),
    )


def _opens(secret: bytes, sealed: bytes) -> bool:
    with suppress(InvalidTag):
        return _cipher(secret).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None) == WORD
    return False


def _cipher(secret: bytes) -> AESGCM:
    return AESGCM(derive_key(secret, "canary"))


def _connect(dsn: str, *, autocommit: bool = True) -> Connection:
    return psycopg.connect(
        dsn, autocommit=autocommit, connect_timeout=CONNECT_TIMEOUT, application_name="plinth canary"
    )
