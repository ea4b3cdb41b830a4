"""Tables of operations. They belong to the platform, not to a tenant."""

from sqlalchemy import Boolean, Column, Index, Text, text

from server.data.tables import global_table, resource_columns, time_column, uuid_column

ip_blocks = global_table(
    "ip_blocks",
    uuid_column("id", primary_key=True),
    # In canonical form, always with the prefix length.
    Column("network", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=text("''")),
    Column("automatic", Boolean, nullable=False, server_default=text("false")),
    time_column("expire_time", nullable=True),
    *resource_columns(soft_delete=False),
)
Index("ip_blocks_network_key", ip_blocks.c.network, unique=True)
Index("ip_blocks_create_time_idx", ip_blocks.c.create_time, ip_blocks.c.id)
Index("ip_blocks_expire_time_idx", ip_blocks.c.expire_time)
