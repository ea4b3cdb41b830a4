"""Looking for an idempotency record after its lock was taken, and not in the same statement."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# The two conditions were one expression, and so one statement with one snapshot, which may be older than the lock: a
# call that took the lock right after the first one had committed did not see its record, and did its work again.
CLAIM = """
CREATE OR REPLACE FUNCTION plinth_claim_key(key_lock bigint, key_id bytea, moment timestamptz)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT pg_try_advisory_xact_lock(key_lock) THEN
        RAISE EXCEPTION 'the idempotency key is taken' USING ERRCODE = 'PL002';
    END IF;
    IF EXISTS (SELECT FROM idempotency_records WHERE id = key_id AND expire_time > moment) THEN
        RAISE EXCEPTION 'the idempotency key is taken' USING ERRCODE = 'PL002';
    END IF;
END $$;
"""


def upgrade() -> None:
    op.execute(CLAIM)
