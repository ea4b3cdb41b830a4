"""Tables of realtime. They belong to the platform, not to a tenant."""

from sqlalchemy import Index

from server.data.tables import global_table, time_column, uuid_column

used_tickets = global_table("used_tickets", uuid_column("id", primary_key=True), time_column("expire_time"))
Index("used_tickets_expire_time_idx", used_tickets.c.expire_time)
