"""Repair of what 0002 and 0003 once left undone: row-level security hid the rows from them.

Tenants of schema 0001 were left without built-in roles, and the sequence of events began at 1 instead of after the last
event. Both migrations are right by now; this one mends the databases that they had upgraded before.
"""

from alembic import op

from server.data.walls import every_row

revision = "0011"
down_revision = "0009"
branch_labels = None
depends_on = None

# The names are reserved: no tenant can have made a role of its own by one of them.
ROLES = """
INSERT INTO roles (tenant_id, id, name, built_in)
SELECT t.id, gen_random_uuid(), n.name, true
  FROM tenants t, unnest(ARRAY['owner', 'admin', 'editor', 'member', 'viewer', 'employee', 'partner']) n (name)
ON CONFLICT (tenant_id, name) DO NOTHING
"""
# Only forwards: what was drawn from it is not drawn again. Nobody draws meanwhile, since the table is locked.
SEQUENCE = """
SELECT setval('events_sequence_seq', found.latest)
  FROM (SELECT max(sequence) AS latest FROM events) found, events_sequence_seq drawn
 WHERE found.latest > drawn.last_value OR (found.latest = drawn.last_value AND NOT drawn.is_called)
"""


def upgrade() -> None:
    with every_row("tenants", "roles"):
        op.execute(ROLES)
    with every_row("events"):
        op.execute(SEQUENCE)
