"""The event log of a person: what is personal in payloads is blanked, and events stay.

Nothing but a payload says that it names a person, so all events of the tenant are read, by time, a batch at a time.
The log is kept for a limited time. Reading it in order needs no further index, which every event would pay for.
"""

from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import BigInteger, Boolean, DateTime, LargeBinary, Text, text
from sqlalchemy.dialects.postgresql import UUID

from server.data.events import NO_TENANT
from server.data.statements import Row, Statement
from server.data.transactions import WriteTransaction
from server.kernel.privacy.blanking import blanked
from server.kernel.privacy.erasure import Cursor, Erasure
from server.kernel.privacy.statements import BATCH

# An event is of the person if its audience is, if its resource is the person, or if its payload names the person.
_IS_OWN = "(audience = CAST(:person AS uuid) OR resource_id = CAST(:person AS text))"
_MENTIONS = """(position(convert_to(CAST(:person AS text), 'UTF8') IN payload) > 0
                OR (CAST(:address AS text) <> ''
                    AND position(CAST(:address AS text) IN lower(encode(payload, 'escape'))) > 0))"""
# Planned anew for each page: only its time tells how many events are left, and whether to read them in order or to sort
# them.
PAGE = Statement(
    text(
        f"""WITH page AS MATERIALIZED (
                SELECT id, create_time, message_type, payload, request_id, actor_id, audience, resource_id
                  FROM events
                 WHERE tenant_id = CAST(:tenant AS uuid)
                   AND (create_time, id) > (CAST(:time AS timestamptz), CAST(:id AS uuid))
                 ORDER BY create_time, id LIMIT {BATCH})
            SELECT id, create_time, message_type, request_id, coalesce({_IS_OWN}, false) AS is_own,
                   coalesce(actor_id <> CAST(:person AS uuid), false) AS by_another,
                   CASE WHEN {_IS_OWN} OR {_MENTIONS} THEN payload END AS payload
              FROM page ORDER BY create_time, id"""  # noqa: S608 - all of it stands above
    ).columns(
        id=UUID(as_uuid=False),
        create_time=DateTime(timezone=True),
        message_type=Text(),
        request_id=Text(),
        is_own=Boolean(),
        by_another=Boolean(),
        payload=LargeBinary(),
    ),
    is_kept=False,
)
# By id alone: many events may have one time, and the planner does not know.
BLANK = Statement(
    text(
        """UPDATE events
              SET payload = decode((CAST(:payloads AS text[]))[array_position(CAST(:ids AS uuid[]), id)], 'hex')
            WHERE tenant_id = CAST(:tenant AS uuid) AND id = ANY (CAST(:ids AS uuid[]))"""
    )
)
# Somebody else's change of what is the person's, such as of many rows at once. The clocks of a call and of its
# transaction differ by seconds at most.
FORGET_CHANGES = Statement(
    text(
        """UPDATE audit_entries SET personal = CAST(CAST(personal AS jsonb) - 'changes' AS text)
            WHERE tenant_id = CAST(:tenant AS uuid)
              AND create_time BETWEEN CAST(:first AS timestamptz) - interval '1 minute'
                                  AND CAST(:last AS timestamptz) + interval '1 minute'
              AND request_id = ANY (CAST(:requests AS text[])) AND CAST(personal AS jsonb) ? 'changes'"""
    )
)
COUNT = Statement(
    text("SELECT count(*) AS rows FROM events WHERE tenant_id = CAST(:tenant AS uuid)").columns(rows=BigInteger())
)
BEGINNING: Cursor = {"time": datetime.min.replace(tzinfo=UTC).isoformat(), "id": NO_TENANT}


class _Change(NamedTuple):
    row: Row
    payload: bytes


def blank_events(erasure: Erasure) -> None:
    """Blank the events of the person in one tenant, or in none."""
    cursor = dict(erasure.cursor or BEGINNING)
    address = escaped(erasure.person.email)
    while True:
        with erasure.batch() as transaction:
            place = {"tenant": erasure.tenant_id, "person": erasure.person.id, "address": address}
            found = transaction.run(PAGE, **place, **cursor).all()
            changes = _changes(erasure, found)
            _write(erasure, transaction, changes)
            if found:
                cursor = {"time": found[-1]["create_time"].isoformat(), "id": found[-1]["id"]}
            erasure.note(len(found), len(changes), cursor)
        if len(found) < BATCH:
            return


def escaped(address: str) -> str:
    """An address as it stands in a payload that PostgreSQL shows as text, in lower case."""
    signs = (sign if sign.isascii() else "".join(f"\\{byte:03o}" for byte in sign.encode()) for sign in address.lower())
    return "".join(signs)


def _changes(erasure: Erasure, found: list[Row]) -> list[_Change]:
    changes = []
    for row in found:
        if row["payload"] is not None:
            payload = blanked(row["message_type"], row["payload"], erasure.person, is_theirs=row["is_own"])
            if payload != row["payload"]:
                changes.append(_Change(row, payload))
    return changes


def _write(erasure: Erasure, transaction: WriteTransaction, changes: list[_Change]) -> None:
    if not changes:
        return
    rows = [change.row for change in changes]
    transaction.queue(
        BLANK,
        tenant=erasure.tenant_id,
        ids=[row["id"] for row in rows],
        payloads=[change.payload.hex() for change in changes],
    )
    requests = sorted({row["request_id"] for row in rows if row["is_own"] and row["by_another"] and row["request_id"]})
    if requests:
        first, last = rows[0]["create_time"], rows[-1]["create_time"]
        transaction.queue(FORGET_CHANGES, tenant=erasure.tenant_id, requests=requests, first=first, last=last)
