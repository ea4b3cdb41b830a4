"""Claiming an idempotency key in the round trip that does the work, instead of asking for it in one before."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# Each statement of a volatile function sees what was committed before it began, so the record is looked for under the
# lock.
CLAIM = """
CREATE FUNCTION plinth_claim_key(key_lock bigint, key_id bytea, moment timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT pg_try_advisory_xact_lock(key_lock)
        OR EXISTS (SELECT FROM idempotency_records WHERE id = key_id AND expire_time > moment) THEN
        RAISE EXCEPTION 'the idempotency key is taken' USING ERRCODE = 'PL002';
    END IF;
END $$;
"""


def upgrade() -> None:
    op.execute(CLAIM)
