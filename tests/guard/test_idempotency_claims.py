"""An idempotency key is claimed once, however close behind the first call's commit the next one comes."""

import secrets
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import psycopg
from psycopg import errors

from tests.stack import Stack

CLAIMANTS = 4
KEYS = 1500
CLAIM = "SELECT plinth_claim_key(%s, %s, now())"
KEEP = """
    INSERT INTO idempotency_records (id, request_hash, http_status, answer, expire_time)
    VALUES (%s, '', 200, '', now() + interval '1 hour')
"""
TAKEN = "PL002"


def test_a_key_is_claimed_once(stack: Stack) -> None:
    """Each claims every key, and keeps an answer where it may; they begin each key together."""
    keys = [(secrets.randbits(62), secrets.token_bytes(32)) for _ in range(KEYS)]
    together = Barrier(CLAIMANTS)

    def claim_all() -> list[bytes]:
        claimed = []
        with psycopg.connect(stack.settings.owner_dsn) as connection:
            for lock, name in keys:
                together.wait(60)
                # The first one may still be at work, which is refused as well: until it is done.
                while not (outcome := claim(connection, lock, name)):
                    pass
                claimed += [name] if outcome == "claimed" else []
        return claimed

    with ThreadPoolExecutor(CLAIMANTS) as pool:
        claims = [name for done in [pool.submit(claim_all) for _ in range(CLAIMANTS)] for name in done.result()]
    assert len(claims) == len(set(claims)) == KEYS


def claim(connection: "psycopg.Connection[tuple[object, ...]]", lock: int, name: bytes) -> str:
    """Claim a key and keep an answer: `claimed`, `kept` where there is one already, or nothing while it is claimed."""
    try:
        connection.execute(CLAIM, (lock, name))
        connection.execute(KEEP, (name,))
        connection.commit()
    except errors.UniqueViolation:
        connection.rollback()
        return "claimed"
    except psycopg.Error as error:
        connection.rollback()
        if error.sqlstate != TAKEN:
            raise
        kept = connection.execute("SELECT FROM idempotency_records WHERE id = %s", (name,)).fetchone()
        connection.commit()
        return "kept" if kept is not None else ""
    return "claimed"
