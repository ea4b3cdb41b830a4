"""The index by which the deliveries of an event are found, among all that a webhook has had since."""

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX webhook_deliveries_event_id_idx ON webhook_deliveries (tenant_id, event_id, webhook_id)")
