"""Erasure of a person from the audit log: personal values are cleared, and the commitments to them stay."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache, partial
from typing import NamedTuple

from sqlalchemy import ARRAY, BigInteger, DateTime, Text, any_, bindparam, literal_column, select, text
from sqlalchemy.dialects.postgresql import UUID

from server.data.clauses import AnyType
from server.data.events import NO_TENANT
from server.data.statements import Row, Statement
from server.data.transactions import WriteTransaction
from server.kernel.call import Call
from server.kernel.privacy import BATCH, Erasure, Owned, theirs

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


# In batches, for the erasure of a person from everything -------------------------------------------------------------

# Planned anew for each page: only its time tells how many entries are left.
_PAGE = f"""
SELECT id, create_time, actor_id, resource_type, resource_id FROM audit_entries
 WHERE tenant_id = CAST(:tenant AS uuid) AND {{}}
   AND (create_time, id) > (CAST(:time AS timestamptz), CAST(:id AS uuid))
 ORDER BY create_time, id LIMIT {BATCH}
"""  # noqa: S608 - all of it stands here
_COLUMNS: dict[str, AnyType] = {
    "id": UUID(as_uuid=False),
    "create_time": DateTime(timezone=True),
    "actor_id": UUID(as_uuid=False),
    "resource_type": Text(),
    "resource_id": Text(),
}
BY_ACTOR = Statement(text(_PAGE.format("actor_id = CAST(:person AS uuid)")).columns(**_COLUMNS), is_kept=False)
BY_RESOURCE = Statement(text(_PAGE.format("resource_id = CAST(:person AS text)")).columns(**_COLUMNS), is_kept=False)
# By id alone: how many entries lie between two times, the planner does not know.
CLEAR = Statement(
    text(
        """UPDATE audit_entries SET personal = CAST(CAST(personal AS jsonb) - CAST(:names AS text[]) AS text)
            WHERE tenant_id = CAST(:tenant AS uuid) AND id = ANY (CAST(:ids AS uuid[]))
              AND CAST(personal AS jsonb) ?| CAST(:names AS text[])"""
    )
)
CLEAR_CHANGES_OF = Statement(
    text(
        """UPDATE audit_entries SET personal = CAST(CAST(personal AS jsonb) - 'changes' AS text)
            WHERE tenant_id = CAST(:tenant AS uuid) AND resource_id = ANY (CAST(:ids AS text[]))
              AND CAST(personal AS jsonb) ? 'changes'"""
    )
)
COUNT = Statement(
    text(
        "SELECT count(*) AS rows FROM audit_entries"
        " WHERE tenant_id = CAST(:tenant AS uuid) AND actor_id = CAST(:person AS uuid)"
    ).columns(rows=BigInteger())
)
ORIGIN, CHANGES = ("ip", "user_agent"), ("changes",)
BEGINNING = {"time": datetime.min.replace(tzinfo=UTC).isoformat(), "id": NO_TENANT}
# Rows of a person whose entries one statement clears.
RESOURCES_AT_ONCE = 100


class _Part(NamedTuple):
    """One of the ways in which entries are found."""

    name: str
    work: Callable[[Erasure, Row, Row], None]
    """Works from the first cursor on. Notes the second one with its last batch, with which the next part begins."""


def erase_entries(erasure: Erasure) -> None:
    """Erase a person from the entries of one tenant, or of those that belong to none."""
    owned = erasure.owned if erasure.tenant_id != NO_TENANT else ()
    parts = [_Part("actor", _by_actor), _Part("resource", _by_resource)]
    parts += [_Part(each.type, partial(_of_what_they_own, each)) for each in owned]
    begins: list[Row] = [{"part": part.name, **BEGINNING} for part in parts]
    reached = dict(erasure.cursor) or begins[0]
    names = [part.name for part in parts]
    first = names.index(reached["part"]) if reached["part"] in names else len(parts)
    for number in range(first, len(parts)):
        following = begins[number + 1] if number + 1 < len(parts) else {"part": ""}
        parts[number].work(erasure, reached if number == first else begins[number], following)


def _by_actor(erasure: Erasure, cursor: Row, following: Row) -> None:
    """Address and user agent of what the person did, and the changes of what was theirs or has no id."""
    types = {owned.type for owned in erasure.owned}
    own = ("", erasure.person.id)

    def clear(transaction: WriteTransaction, found: list[Row]) -> None:
        others = _owned_by_others(erasure, transaction, found)
        changed = [
            row
            for row in found
            if row["resource_id"] in own or (row["resource_type"] in types and row["resource_id"] not in others)
        ]
        _clear(erasure, transaction, found, ORIGIN)
        _clear(erasure, transaction, changed, CHANGES)
        erasure.note(len(found), len(found))

    _page_by_page(erasure, BY_ACTOR, clear, cursor, following)


def _by_resource(erasure: Erasure, cursor: Row, following: Row) -> None:
    """What was done to the person; address and user agent, if the actor is unknown."""

    def clear(transaction: WriteTransaction, found: list[Row]) -> None:
        _clear(erasure, transaction, found, CHANGES)
        _clear(erasure, transaction, [row for row in found if row["actor_id"] is None], ORIGIN)
        erasure.note(0, len(found))

    _page_by_page(erasure, BY_RESOURCE, clear, cursor, following)


def _page_by_page(
    erasure: Erasure,
    statement: Statement,
    clear: Callable[[WriteTransaction, list[Row]], None],
    cursor: Row,
    following: Row,
) -> None:
    """Clear the entries that a statement finds, a batch at a time."""
    found: list[Row] = [{}] * BATCH
    while len(found) == BATCH:
        with erasure.batch() as transaction:
            place = {"tenant": erasure.tenant_id, "person": erasure.person.id}
            found = transaction.run(statement, **place, time=cursor["time"], id=cursor["id"]).all()
            clear(transaction, found)
            if len(found) == BATCH:
                last = found[-1]
                cursor = {**cursor, "time": last["create_time"].isoformat(), "id": last["id"]}
            else:
                cursor = following
            erasure.note(0, 0, cursor)


def _of_what_they_own(owned: Owned, erasure: Erasure, cursor: Row, following: Row) -> None:
    """What others did to a resource of the person."""
    ids = [""] * RESOURCES_AT_ONCE
    while len(ids) == RESOURCES_AT_ONCE:
        with erasure.batch() as transaction:
            place = {"tenant": erasure.tenant_id, "person": erasure.person.id}
            ids = [row["id"] for row in transaction.run(_ids_of(owned), **place, after=cursor["id"]).all()]
            cleared = transaction.run(CLEAR_CHANGES_OF, tenant=erasure.tenant_id, ids=ids).count
            cursor = {**cursor, "id": ids[-1]} if len(ids) == RESOURCES_AT_ONCE else following
            erasure.note(0, cleared, cursor)


@cache
def _ids_of(owned: Owned) -> Statement:
    """The ids of what a person owns. Takes `tenant`, `person` and `after`."""
    table = owned.table
    return Statement(
        select(table.c.id)
        .where(*theirs(table, owned.by), table.c.id > bindparam("after", type_=table.c.id.type))
        .order_by(table.c.id)
        .limit(literal_column(str(RESOURCES_AT_ONCE)))
    )


def _owned_by_others(erasure: Erasure, transaction: WriteTransaction, found: list[Row]) -> set[str]:
    """The ids of resources in these entries that belong to somebody else."""
    others: set[str] = set()
    for owned in erasure.owned:
        ids = sorted({row["resource_id"] for row in found if row["resource_type"] == owned.type and row["resource_id"]})
        if ids and erasure.tenant_id != NO_TENANT:
            result = transaction.run(_others(owned), tenant=erasure.tenant_id, ids=ids, person=erasure.person.id)
            others |= {row["id"] for row in result.all()}
    return others


@cache
def _others(owned: Owned) -> Statement:
    """Takes `tenant`, `ids` and `person`."""
    columns = owned.table.c
    return Statement(
        select(columns.id).where(
            columns.tenant_id == bindparam("tenant", type_=columns.tenant_id.type),
            columns.id == any_(bindparam("ids", type_=ARRAY(columns.id.type))),
            columns[owned.by] != bindparam("person", type_=columns[owned.by].type),
        )
    )


def _clear(erasure: Erasure, transaction: WriteTransaction, rows: list[Row], names: tuple[str, ...]) -> None:
    if rows:
        transaction.queue(CLEAR, tenant=erasure.tenant_id, ids=[row["id"] for row in rows], names=names)
