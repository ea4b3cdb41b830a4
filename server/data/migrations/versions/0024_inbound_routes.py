"""Which tenant and key the calls of providers belong to."""

from alembic import op

from server.data.walls import wall

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

ROUTES = """
CREATE TABLE inbound_routes (
    tenant_id uuid NOT NULL,
    route_hash bytea NOT NULL,
    adapter text NOT NULL,
    key_id uuid NOT NULL,
    CONSTRAINT inbound_routes_pkey PRIMARY KEY (tenant_id, route_hash),
    CONSTRAINT inbound_routes_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE
)
"""
OWN_TENANT = "tenant_id = (SELECT nullif(current_setting('plinth.tenant_id', true), '')::uuid)"
IS_PLATFORM = "(SELECT coalesce(current_setting('plinth.platform', true), '') = 'on')"


def upgrade() -> None:
    op.execute(ROUTES)
    op.execute("CREATE UNIQUE INDEX inbound_routes_route_hash_key ON inbound_routes (route_hash)")
    op.execute("CREATE INDEX inbound_routes_key_id_idx ON inbound_routes (tenant_id, key_id)")
    wall("inbound_routes", f"{OWN_TENANT} OR {IS_PLATFORM}")
