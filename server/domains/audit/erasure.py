"""Erasure of a person from the audit log: personal values are cleared, and the commitments to them stay."""

from sqlalchemy import text

from server.data.statements import Statement
from server.kernel.call import Call

# The personal values that belong to the person. Address and user agent, if the person acted or the actor is unknown.
# Changes, if they were made to the person, or to something without an id, such as the person's session.
_THEIRS = """(
    CASE WHEN coalesce(actor_id = CAST(:person AS uuid), true) THEN '{ip,user_agent}' ELSE '{}' END::text[]
    || CASE WHEN resource_id IN (CAST(:person AS text), '') THEN '{changes}' ELSE '{}' END::text[]
)"""
# Each half of the OR is a range of an index.
ERASE = Statement(
    text(
        f"""UPDATE audit_entries
               SET personal = CAST(CAST(personal AS jsonb) - {_THEIRS} AS text)
             WHERE tenant_id = CAST(:tenant AS uuid)
               AND (actor_id = CAST(:person AS uuid) OR resource_id = CAST(:person AS text))
               AND CAST(personal AS jsonb) ?| {_THEIRS}"""  # noqa: S608 - all of it stands above
    )
)


def erase(call: Call, person_id: str) -> int:
    """Erase a person from the entries of the call's tenant. Returns the number of entries changed.

    Entries that belong to no tenant, such as those of sign-ups, are outside a tenant's reach.
    """
    return call.writes.run(ERASE, tenant=call.tenant_id, person=person_id).count
