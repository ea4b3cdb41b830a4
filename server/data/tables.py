"""Conventions of all tables: their common columns, their keys, and the row-level security of tenant tables.

A tenant table is described with `tenant_table`. `tenant_id` leads its primary key, every unique index and every foreign
key, so that the table can be sharded by tenant. Migrations create what is described here.
"""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKeyConstraint,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    TextClause,
    text,
)
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.schema import SchemaItem

from server.data.clauses import AnyColumn

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)

# Settings of a transaction that row-level security reads. Without them no row is visible.
TENANT_SETTING = "plinth.tenant_id"
USER_SETTING = "plinth.user_id"
PLATFORM_SETTING = "plinth.platform"

ROW_SECURITY = "row_security"
"""Key of Table.info: the USING expression of the table's policy. Tables without it are global."""

# In a subselect, the setting is read once per statement instead of once per row.
CURRENT_TENANT = f"(SELECT nullif(current_setting('{TENANT_SETTING}', true), '')::uuid)"
CURRENT_USER = f"(SELECT nullif(current_setting('{USER_SETTING}', true), '')::uuid)"
IS_PLATFORM = f"(SELECT coalesce(current_setting('{PLATFORM_SETTING}', true), '') = 'on')"
OWN_TENANT = f"tenant_id = {CURRENT_TENANT}"


def uuid_column(name: str, *, nullable: bool = False, primary_key: bool = False) -> Column[str]:
    """A UUID column, whose values are text in Python."""
    return Column(name, UUID(as_uuid=False), nullable=nullable, primary_key=primary_key)


def time_column(name: str, *, nullable: bool = False, server_default: TextClause | None = None) -> Column[datetime]:
    """A column with a time in UTC."""
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=server_default)


def resource_columns(*, soft_delete: bool) -> list[AnyColumn]:
    """The columns of every resource besides its own fields: version (its ETag) and times."""
    columns: list[AnyColumn] = [
        Column("version", BigInteger, nullable=False, server_default=text("1")),
        time_column("create_time", server_default=text("now()")),
        time_column("update_time", server_default=text("now()")),
    ]
    if soft_delete:
        columns.append(time_column("delete_time", nullable=True))
    return columns


def tenant_table(name: str, *parts: SchemaItem, soft_delete: bool = False, row_security: str = OWN_TENANT) -> Table:
    """A resource table of tenants: keyed by (tenant_id, id), protected by row-level security.

    With `soft_delete`, deleted rows can be restored until they are purged. An index over them serves the purge.
    """
    table = Table(
        name,
        metadata,
        uuid_column("tenant_id"),
        uuid_column("id"),
        *parts,
        *resource_columns(soft_delete=soft_delete),
        PrimaryKeyConstraint("tenant_id", "id"),
        ForeignKeyConstraint(["tenant_id"], ["tenants.id"], ondelete="CASCADE"),
        info={ROW_SECURITY: row_security},
    )
    if soft_delete:
        Index(f"{name}_delete_time_idx", table.c.delete_time, postgresql_where=table.c.delete_time.is_not(None))
    return table


def deletable(tables: Iterable[Table]) -> list[Table]:
    """The tables of tenants whose deleted rows can be restored."""
    return [table for table in tables if "delete_time" in table.c and "tenant_id" in table.c]


def global_table(
    name: str, *parts: SchemaItem, row_security: str | None = None, partition_by: str | None = None
) -> Table:
    """A table of the platform. It has row-level security of its own if rows belong to a user or a tenant."""
    return Table(
        name,
        metadata,
        *parts,
        info={ROW_SECURITY: row_security} if row_security else {},
        postgresql_partition_by=partition_by,
    )
