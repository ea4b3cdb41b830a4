"""A trigger deletes the words of deleted rows. The foreign key before it checked the row once per word."""

from alembic import op

from server.data.search_trigger import add_words_trigger

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

# The role that deletes a row may lack privileges on its words and may be in no tenant. Row-level security also binds
# the owner of the tables, so the function enters each tenant before it deletes the words of that tenant.
DELETE_WORDS = """
CREATE FUNCTION plinth_delete_words() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET row_security = on AS $$
DECLARE
    entered text := coalesce(current_setting('plinth.tenant_id', true), '');
    tenant uuid;
BEGIN
    FOR tenant IN SELECT DISTINCT deleted.tenant_id FROM deleted LOOP
        PERFORM set_config('plinth.tenant_id', tenant::text, true);
        EXECUTE format(
            'DELETE FROM %I AS words USING deleted
              WHERE deleted.tenant_id = $1 AND words.tenant_id = $1 AND words.resource_id = deleted.id', TG_ARGV[0]
        ) USING tenant;
    END LOOP;
    PERFORM set_config('plinth.tenant_id', entered, true);
    RETURN NULL;
END $$;
"""


def upgrade() -> None:
    op.execute(DELETE_WORDS)
    op.drop_constraint("pages_words_resource_fkey", "pages_words")
    add_words_trigger("pages_words", "pages")
