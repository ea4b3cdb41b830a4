"""Secrets of webhooks: sealed for one webhook, open after a rotation of the deployment's, and resealed by a job."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from cryptography.exceptions import InvalidTag

from server.data.transactions import Database, Scope
from server.domains.webhooks.background import SECRETS
from server.domains.webhooks.secrets import SecretBox, UnknownKey, new_secret
from server.kernel import resealing
from server.kernel.ids import new_id
from server.kernel.resealing import Resealer, replacement
from server.secrets import Secrets
from tests.kernel.database import connections, scratch
from tests.stack import Stack

ONE, TWO, THREE, FOUR = (bytes([letter]) * 40 for letter in b"abcd")
NOW = datetime(2026, 11, 1, tzinfo=UTC)
WEBHOOK = "01a1fea2-7a27-7f10-87f0-077ea001f5ba"
# What the job needs of the table.
TABLE = """CREATE TABLE webhooks (
    tenant_id uuid, id uuid, secret bytea NOT NULL, previous_secret bytea, PRIMARY KEY (tenant_id, id))"""


def test_what_is_sealed_opens_for_its_webhook_only() -> None:
    box, secret = SecretBox(Secrets(ONE)), new_secret()
    sealed = box.seal(secret, WEBHOOK)
    assert secret not in sealed
    assert box.open(sealed, WEBHOOK) == secret
    assert box.seal(secret, WEBHOOK) != sealed
    with pytest.raises(InvalidTag):
        box.open(sealed, new_id())
    with pytest.raises(InvalidTag):
        box.open(sealed[:-1] + bytes([sealed[-1] ^ 1]), WEBHOOK)


def test_after_a_rotation_old_secrets_open_and_are_resealed_once() -> None:
    secret = new_secret()
    sealed = SecretBox(Secrets(ONE)).seal(secret, WEBHOOK)
    rotated = SecretBox(Secrets(TWO, behind=(ONE,)))
    assert rotated.open(sealed, WEBHOOK) == secret
    again = rotated.reseal(sealed, WEBHOOK)
    assert again is not None
    assert again != sealed
    assert rotated.reseal(again, WEBHOOK) is None
    assert SecretBox(Secrets(TWO)).open(again, WEBHOOK) == secret


def test_what_was_sealed_two_rotations_ago_is_not_taken_for_something_else() -> None:
    sealed = SecretBox(Secrets(ONE)).seal(new_secret(), WEBHOOK)
    with pytest.raises(UnknownKey):
        SecretBox(Secrets(THREE, behind=(TWO,))).open(sealed, WEBHOOK)
    with pytest.raises(UnknownKey):
        SecretBox(Secrets(THREE, behind=(TWO,))).reseal(sealed, WEBHOOK)


@pytest.mark.parametrize(("ends", "count"), [(timedelta(seconds=1), 2), (timedelta(0), 1), (None, 1)])
def test_messages_are_signed_with_both_secrets_while_the_overlap_lasts(ends: timedelta | None, count: int) -> None:
    box, secrets = SecretBox(Secrets(ONE)), [new_secret(), new_secret()]
    row = {
        "secret": box.seal(secrets[0], WEBHOOK),
        "previous_secret": box.seal(secrets[1], WEBHOOK),
        "previous_secret_expire_time": None if ends is None else NOW + ends,
    }
    assert box.open_all(row, WEBHOOK, NOW) == secrets[:count]


# The job -------------------------------------------------------------------------------------------------------------


class Safe:
    """Webhooks of many tenants, and what their secrets are."""

    def __init__(self, dsn: str, database: Database) -> None:
        self.dsn = dsn
        self.database = database
        self.secrets: dict[str, tuple[bytes, bytes | None]] = {}

    def add(self, box: SecretBox, *, overlaps: bool, before: SecretBox | None = None) -> str:
        """One whose previous secret, if it has one, was sealed by another box."""
        webhook, secret, previous = new_id(), new_secret(), new_secret() if overlaps else None
        self.secrets[webhook] = secret, previous
        sealed = [box.seal(secret, webhook), (before or box).seal(previous, webhook) if previous else None]
        with psycopg.connect(self.dsn) as connection:
            connection.execute("INSERT INTO webhooks VALUES (%s, %s, %s, %s)", (new_id(), webhook, *sealed))
        return webhook

    def rows(self) -> dict[str, Any]:
        with psycopg.connect(self.dsn) as connection:
            found = connection.execute("SELECT id::text, secret, previous_secret FROM webhooks").fetchall()
        return {webhook: sealed for webhook, *sealed in found}

    def opened(self, box: SecretBox) -> dict[str, tuple[bytes, bytes | None]]:
        return {
            webhook: (box.open(secret, webhook), box.open(previous, webhook) if previous else None)
            for webhook, (secret, previous) in self.rows().items()
        }


@pytest.fixture(scope="module")
def place(stack: Stack) -> Iterator[tuple[str, Database]]:
    with scratch(stack, TABLE) as dsn, connections(dsn) as pool:
        yield dsn, Database(pool)


@pytest.fixture
def safe(place: tuple[str, Database]) -> Safe:
    """An empty one."""
    with psycopg.connect(place[0]) as connection:
        connection.execute("TRUNCATE webhooks")
    return Safe(*place)


def reseal(safe: Safe, box: SecretBox) -> None:
    """What a worker does when it starts."""
    Resealer(safe.database, box, SECRETS, "reseal").run()


def test_three_rotations_in_a_row_lose_nothing(safe: Safe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resealing, "BATCH", 2)
    for number in range(5):
        safe.add(SecretBox(Secrets(ONE)), overlaps=number % 2 == 0)
    for secret, previous in ((TWO, ONE), (THREE, TWO), (FOUR, THREE)):
        reseal(safe, SecretBox(Secrets(secret, behind=(previous,))))
        # Whoever holds the new secret alone opens all of them.
        assert safe.opened(SecretBox(Secrets(secret))) == safe.secrets
        safe.add(SecretBox(Secrets(secret)), overlaps=True)
    assert len(safe.secrets) == 8


def test_a_previous_secret_is_resealed_whatever_the_current_one_is_under(safe: Safe) -> None:
    """As when a webhook's secret is rotated after the deployment's."""
    safe.add(SecretBox(Secrets(TWO, behind=(ONE,))), overlaps=True, before=SecretBox(Secrets(ONE)))
    reseal(safe, SecretBox(Secrets(TWO, behind=(ONE,))))
    assert safe.opened(SecretBox(Secrets(TWO))) == safe.secrets


def test_what_is_under_the_current_key_is_left_alone(safe: Safe) -> None:
    safe.add(SecretBox(Secrets(TWO, behind=(ONE,))), overlaps=True)
    before = safe.rows()
    reseal(safe, SecretBox(Secrets(TWO, behind=(ONE,))))
    assert safe.rows() == before


def test_what_does_not_open_stays_and_is_told(safe: Safe, caplog: pytest.LogCaptureFixture) -> None:
    lost = safe.add(SecretBox(Secrets(ONE)), overlaps=False)
    found = safe.add(SecretBox(Secrets(TWO)), overlaps=True)
    before = safe.rows()
    with caplog.at_level(logging.ERROR, "plinth.secrets"):
        reseal(safe, SecretBox(Secrets(THREE, behind=(TWO,))))
    after = safe.rows()
    assert after[lost] == before[lost]
    assert SecretBox(Secrets(THREE)).open(after[found][0], found) == safe.secrets[found][0]
    assert [record.getMessage()[:20] for record in caplog.records if record.name == "plinth.secrets"] == [
        "1 secrets of webhook"
    ]


def test_a_secret_that_was_rotated_meanwhile_is_not_overwritten(safe: Safe) -> None:
    webhook = safe.add(SecretBox(Secrets(ONE)), overlaps=False)
    with psycopg.connect(safe.dsn) as connection:
        tenant = str(connection.execute("SELECT tenant_id FROM webhooks").fetchone()[0])  # type: ignore[index]
    before = safe.rows()
    stale = {"keys_tenant_id": [tenant], "keys_id": [webhook], "old_secret": ["00"], "old_previous_secret": [""]}
    with safe.database.write(Scope()) as transaction:
        transaction.run(replacement(SECRETS, ["tenant_id", "id"]), **stale, new_secret=["01"], new_previous_secret=[""])
    assert safe.rows() == before
