"""The canary: one row that shows whether this database was filled under the deployment's current secret."""

from sqlalchemy import Boolean, CheckConstraint, Column, LargeBinary, text

from server.data.tables import global_table, time_column

secret_canaries = global_table(
    "secret_canaries",
    # Always true, so that there is one row.
    Column("id", Boolean, primary_key=True, server_default=text("true")),
    Column("sealed", LargeBinary, nullable=False),
    time_column("update_time", server_default=text("now()")),
    CheckConstraint("id", name="single"),
)
