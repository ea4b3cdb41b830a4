"""The trigger of a search, for migrations: it deletes the words of deleted rows."""

from alembic import op


def add_words_trigger(words: str, resources: str) -> None:
    """Add the trigger to the table of the resources. It fires for every role and for cascades."""
    op.execute(
        f"CREATE TRIGGER {words}_delete AFTER DELETE ON {resources} REFERENCING OLD TABLE AS deleted "
        f"FOR EACH STATEMENT EXECUTE FUNCTION plinth_delete_words('{words}')"
    )
