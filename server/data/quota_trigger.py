"""The trigger of a quota, for migrations: it counts the rows of a tenant when one is added or restored."""

from alembic import op

COUNT = "EXECUTE FUNCTION plinth_keep_quota('{name}', '{deletes}')"


def add_quota_trigger(table: str, name: str, *, soft_deletes: bool) -> None:
    """Add the trigger to a table. It fires for every role and every row.

    For each row, because a transition table costs an insertion more than the look-up of the plan, and few are limited.
    """
    count = COUNT.format(name=name, deletes="soft" if soft_deletes else "")
    op.execute(f"CREATE TRIGGER {table}_quota AFTER INSERT ON {table} FOR EACH ROW {count}")
    if soft_deletes:
        op.execute(
            f"CREATE TRIGGER {table}_quota_restored AFTER UPDATE OF delete_time ON {table} FOR EACH ROW "
            f"WHEN (OLD.delete_time IS NOT NULL AND NEW.delete_time IS NULL) {count}"
        )
