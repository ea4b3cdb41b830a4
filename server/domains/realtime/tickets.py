"""Tickets: which of them were used. A ticket is signed and not stored; only its use is."""

from datetime import UTC, datetime

from sqlalchemy import bindparam
from sqlalchemy.dialects.postgresql import insert

from server.data.statements import Statement
from server.data.transactions import Database, Scope
from server.domains.realtime.tables import used_tickets

USE = Statement(
    insert(used_tickets)
    .values({column.name: bindparam(column.name, type_=column.type) for column in used_tickets.c})
    .on_conflict_do_nothing()
    .returning(used_tickets.c.id)
)


class UsedTickets:
    """The tickets that were used."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def use(self, ticket_id: str, until: float) -> bool:
        """Mark a ticket as used until it expires, a Unix time. False if it was used before."""
        with self._database.write(Scope()) as transaction:
            found = transaction.run(USE, id=ticket_id, expire_time=datetime.fromtimestamp(until, UTC))
        return bool(found.returned)
