"""Erasure of a person from stored attempts: what was sent and answered is emptied where it names the person.

An attempt holds a copy of an event as REST shows it, whose event may be gone from the log. The copy names the person in
whose message it is, by id. All attempts of the tenant are read, by delivery, a batch at a time; they are kept for a
limited time.
"""

from sqlalchemy import BigInteger, text
from sqlalchemy.dialects.postgresql import UUID

from server.data.events import NO_TENANT
from server.data.statements import Statement
from server.kernel.privacy import BATCH, Erasure

# Planned anew for each page: only where it begins tells how many attempts are left.
PAGE = Statement(
    text(
        f"""SELECT delivery_id FROM webhook_attempts
             WHERE tenant_id = CAST(:tenant AS uuid) AND delivery_id > CAST(:after AS uuid)
             ORDER BY delivery_id LIMIT {BATCH}"""  # noqa: S608 - all of it stands here
    ).columns(delivery_id=UUID(as_uuid=False)),
    is_kept=False,
)
_NAMES = "position(CAST({} AS text) IN lower(request_body)) > 0"
EMPTY = Statement(
    text(
        f"""UPDATE webhook_attempts
               SET request_headers = '{{}}', request_body = '', response_headers = '{{}}', response_body = ''
             WHERE tenant_id = CAST(:tenant AS uuid)
               AND delivery_id > CAST(:after AS uuid) AND delivery_id <= CAST(:last AS uuid)
               AND ({_NAMES.format(":person")}
                    OR CAST(:address AS text) <> '' AND {_NAMES.format(":address")})"""  # noqa: S608 - as above
    ),
    is_kept=False,
)
COUNT = Statement(
    text("SELECT count(*) AS rows FROM webhook_attempts WHERE tenant_id = CAST(:tenant AS uuid)").columns(
        rows=BigInteger()
    )
)


def erase_attempts(erasure: Erasure) -> None:
    """Empty the attempts that name the person."""
    after = str(erasure.cursor.get("after", NO_TENANT))
    person = {"person": erasure.person.id, "address": erasure.person.email.lower()}
    found = [""] * BATCH
    while len(found) == BATCH:
        with erasure.batch() as transaction:
            page = transaction.run(PAGE, tenant=erasure.tenant_id, after=after)
            found = [row["delivery_id"] for row in page.all()]
            emptied = 0
            if found:
                where = {"tenant": erasure.tenant_id, "after": after, "last": found[-1]}
                emptied = transaction.run(EMPTY, **where, **person).count
                after = found[-1]
            erasure.note(len(found), emptied, {"after": after})
