"""What is to be done at outside providers, from the intent to the outcome."""

from alembic import op

from server.data.walls import wall

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

MOVES = """
CREATE TABLE moves (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    name text NOT NULL,
    state smallint NOT NULL,
    arguments jsonb NOT NULL,
    result jsonb,
    code text NOT NULL DEFAULT '',
    attempt integer NOT NULL DEFAULT 1,
    busy_time timestamptz NOT NULL,
    sent_time timestamptz,
    settle_time timestamptz,
    version bigint NOT NULL DEFAULT 1,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT moves_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT moves_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE
)
"""
OWN_TENANT = "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)"


def upgrade() -> None:
    op.execute(MOVES)
    op.execute("CREATE INDEX moves_due_idx ON moves (busy_time) WHERE settle_time IS NULL")
    op.execute("CREATE INDEX moves_settle_time_idx ON moves (settle_time)")
    wall("moves", OWN_TENANT)
