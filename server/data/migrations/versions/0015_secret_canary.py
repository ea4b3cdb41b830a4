"""The canary that tells a start whether its secret is the one that this database was filled under."""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

CANARY = """
CREATE TABLE secret_canaries (
    id boolean NOT NULL DEFAULT true,
    sealed bytea NOT NULL,
    update_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT secret_canaries_pkey PRIMARY KEY (id),
    CONSTRAINT secret_canaries_single_check CHECK (id)
)
"""


def upgrade() -> None:
    op.execute(CANARY)
