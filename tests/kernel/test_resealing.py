"""Secrets of any table come under the new secret of the deployment: of authenticator apps, some of them NULL."""

import psycopg
import pytest
from prometheus_client import REGISTRY

from server.data.transactions import Database
from server.domains.identity.module import AUTHENTICATOR_SECRETS
from server.domains.identity.second_factor_codes import PURPOSE
from server.kernel.ids import new_id
from server.kernel.resealing import Resealer
from server.kernel.sealing import SealedBox
from server.secrets import Secrets
from tests.kernel.database import connections, scratch
from tests.stack import Stack

OLD, NEW, OTHER = (bytes([letter]) * 40 for letter in b"abc")
TABLE = "CREATE TABLE authenticators (user_id uuid PRIMARY KEY, secret bytea, next_secret bytea)"


def box(secret: bytes, *behind: bytes) -> SealedBox:
    return SealedBox(Secrets(secret, behind=behind), PURPOSE)


@pytest.mark.parametrize("columns", [("secret",), ("next_secret",), ("secret", "next_secret")])
def test_each_column_is_resealed_and_what_is_null_stays_so(stack: Stack, columns: tuple[str, ...]) -> None:
    user = new_id()
    sealed = {name: box(OLD).seal(name.encode(), user) for name in columns}
    with scratch(stack, TABLE) as dsn, connections(dsn) as pool, psycopg.connect(dsn, autocommit=True) as connection:
        values = (user, sealed.get("secret"), sealed.get("next_secret"))
        connection.execute("INSERT INTO authenticators VALUES (%s, %s, %s)", values)
        lost = (new_id(), box(OTHER).seal(b"lost", user), None)
        connection.execute("INSERT INTO authenticators VALUES (%s, %s, %s)", lost)
        for _ in range(2):
            Resealer(Database(pool), box(NEW, OLD), AUTHENTICATOR_SECRETS, "reseal").run()
        found = connection.execute(
            "SELECT secret, next_secret FROM authenticators WHERE user_id = %s", [user]
        ).fetchone()
    assert found is not None
    now = dict(zip(("secret", "next_secret"), found, strict=True))
    assert {name: box(NEW).open(value, user) for name, value in now.items() if value is not None} == {
        name: name.encode() for name in columns
    }
    assert REGISTRY.get_sample_value("plinth_stale_secrets", {"table": "authenticators"}) == 1
