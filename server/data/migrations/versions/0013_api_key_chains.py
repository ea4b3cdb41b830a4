"""Who made an API key: the key, the person at the beginning, and all between."""

from alembic import op

from server.data.walls import every_row

revision = "0013"
down_revision = "0011"
branch_labels = None
depends_on = None

MAKERS = ("create_user_id", "create_api_key_id", "origin_user_id")


def upgrade() -> None:
    for name in MAKERS[1:]:
        op.execute(f"ALTER TABLE api_keys ADD COLUMN {name} text DEFAULT '' NOT NULL")
    op.execute("ALTER TABLE api_keys ADD COLUMN ancestor_ids uuid[] DEFAULT '{}' NOT NULL")
    with every_row("api_keys"):
        op.execute("UPDATE api_keys SET origin_user_id = create_user_id WHERE create_user_id != ''")
    for name in MAKERS:
        op.create_index(f"api_keys_{name}_idx", "api_keys", ["tenant_id", name])
