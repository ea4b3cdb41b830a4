"""Cursors: the position of each background reader in the event log and in the audit log."""

from sqlalchemy import BigInteger, Column, Text, text

from server.data.tables import global_table, time_column

event_cursors = global_table(
    "event_cursors",
    Column("name", Text, primary_key=True),
    # The position after the entry with these numbers; see server/data/events.py.
    Column("transaction_id", BigInteger, nullable=False, server_default=text("0")),
    Column("sequence", BigInteger, nullable=False, server_default=text("0")),
    time_column("update_time", server_default=text("now()")),
)
