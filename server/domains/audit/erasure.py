"""Erasing a person from the audit log: what was personal is cleared, the commitments to it stay."""

from sqlalchemy import text

from server.data.statements import Statement
from server.kernel.call import Call

# Of an entry that names the person: address and user agent, when it was they who acted or nobody knows who; and what
# changed, when it was done to them, or to nothing that has an id, such as their session. The rest is somebody else's.
_THEIRS = """(
    CASE WHEN coalesce(actor_id = CAST(:person AS uuid), true) THEN '{ip,user_agent}' ELSE '{}' END::text[]
    || CASE WHEN resource_id IN (CAST(:person AS text), '') THEN '{changes}' ELSE '{}' END::text[]
)"""
# Either half of the OR is a range of an index.
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
    """Erase a person from the entries of the call's tenant; how many held something of them.

    What belongs to no tenant, such as signing up, is out of the reach of a tenant.
    """
    return call.writes.run(ERASE, tenant=call.tenant_id, person=person_id).count
