"""Who made an API key: the key, the person at the beginning, and all between."""

from alembic import op

revision = "0013"
down_revision = "0008"
branch_labels = None
depends_on = None

MAKERS = ("create_user_id", "create_api_key_id", "origin_user_id")


def upgrade() -> None:
    for name in MAKERS[1:]:
        op.execute(f"ALTER TABLE api_keys ADD COLUMN IF NOT EXISTS {name} text DEFAULT '' NOT NULL")
    op.execute("ALTER TABLE api_keys ADD COLUMN IF NOT EXISTS ancestor_ids uuid[] DEFAULT '{}' NOT NULL")
    # The owner of a table is bound by forced row-level security too, and would update no row.
    op.execute("ALTER TABLE api_keys NO FORCE ROW LEVEL SECURITY")
    op.execute("UPDATE api_keys SET origin_user_id = create_user_id WHERE create_user_id != ''")
    op.execute("ALTER TABLE api_keys FORCE ROW LEVEL SECURITY")
    for name in MAKERS:
        op.create_index(f"api_keys_{name}_idx", "api_keys", ["tenant_id", name], if_not_exists=True)
    op.create_index(
        "api_keys_ancestor_ids_idx", "api_keys", ["ancestor_ids"], postgresql_using="gin", if_not_exists=True
    )
