"""Listed rows: several rows as parameters of one statement, an array for each column."""

from collections.abc import Iterable, Sequence

from sqlalchemy import ARRAY, TableValuedAlias, bindparam, column, func

from server.data.clauses import AnyType


def listed(name: str, **columns: AnyType) -> TableValuedAlias:
    """Rows from arrays, with one parameter for each column, to select from under this name."""
    arrays = [bindparam(column_name, type_=ARRAY(kind)) for column_name, kind in columns.items()]
    described = [column(column_name, kind) for column_name, kind in columns.items()]
    return func.unnest(*arrays).table_valued(*described).render_derived(name)


def lists_of(names: Iterable[str], rows: Iterable[Sequence[object]]) -> dict[str, list[object]]:
    """The parameters for these columns of rows, of which there is at least one."""
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
