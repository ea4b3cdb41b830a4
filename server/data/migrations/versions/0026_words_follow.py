"""Words go with their resource by a trigger. The foreign key looked at the resource once for each word."""

from alembic import op

from server.data.walls import follow

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

# Whoever removes a resource may have no right to its words, or be in no tenant. Row-level security binds the owner too,
# so that the words are removed as in each tenant of theirs.
FORGET = """
CREATE FUNCTION plinth_forget_words() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET row_security = on AS $$
DECLARE
    inside text := coalesce(current_setting('plinth.tenant_id', true), '');
    tenant uuid;
BEGIN
    FOR tenant IN SELECT DISTINCT gone.tenant_id FROM gone LOOP
        PERFORM set_config('plinth.tenant_id', tenant::text, true);
        EXECUTE format(
            'DELETE FROM %I AS words USING gone
              WHERE gone.tenant_id = $1 AND words.tenant_id = $1 AND words.resource_id = gone.id', TG_ARGV[0]
        ) USING tenant;
    END LOOP;
    PERFORM set_config('plinth.tenant_id', inside, true);
    RETURN NULL;
END $$;
"""


def upgrade() -> None:
    op.execute(FORGET)
    op.drop_constraint("pages_words_resource_fkey", "pages_words")
    follow("pages_words", "pages")
