"""Epochs of the event log and of the audit log: which cluster their transactions were counted by.

PostgreSQL counts transactions per cluster. A dump that is loaded into a younger one, and a recovery to an earlier
moment, would have the numbers begin again below those that cursors and clients hold: readers would stay silent.
Therefore the stored number of a transaction is `epoch << 42 | number`, and a new epoch begins when the database turns
up in another cluster, or on another timeline of the same one (migration 0009). Each connection asks before it does
anything else, since a cluster only changes between two connections.

Epochs are numbered by the hours since 2026, or by one more than the last: they are above what was given out between the
backup and the fault as well.
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
"""Begins a new epoch, as the owner: for a copy of a disk that was put back, which nothing in the database tells of."""
