"""Epochs of the event log and of the audit log: the cluster that counted their transactions.

PostgreSQL counts transactions per cluster. After a dump is loaded into a younger cluster, or after a recovery to an
earlier point in time, the numbers would start below those in cursors and clients, and readers would find nothing. The
stored number of a transaction is therefore `epoch << 42 | number`. A new epoch begins when the database is found in
another cluster, or on another timeline of the same one (migration 0009). Each connection checks this first, because the
cluster changes only between two connections.

Epochs are numbered by the hours since 2026, or by one more than the last. They are therefore also above the epochs that
were used between the backup and the fault.
"""

from sqlalchemy import BigInteger, Column, Text, text

from server.data.tables import global_table, time_column

log_epochs = global_table(
    "log_epochs",
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    # The cluster's identifier and its timeline.
    Column("cluster", Text, nullable=False),
    time_column("begin_time", server_default=text("now()")),
)

BEGIN_EPOCH = "SELECT plinth_begin_epoch()"
"""Begins a new epoch, as the owner: for a restored copy of a disk, which nothing in the database reveals."""
