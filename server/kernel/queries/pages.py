"""Pages of lists (AIP-158, AIP-132): order, keyset cursors, and tokens that are bound to their query.

A token holds the order values of the last row, so that page 1,000 costs as much as page 1. Its signature covers the
method, tenant, caller, filter and order, so that it is valid for no other query.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import ColumnElement, FromClause, and_, bindparam, or_, tuple_

from server.data.clauses import AnyExpression
from server.kernel.keys import as_text, from_text, sign
from server.kernel.problems import Malformed, Reason

DEFAULT_SIZE = 25
LARGEST_SIZE = 200
SIGNATURE_BYTES = 12
OrderValue = str | int | bool | float | date | datetime | timedelta | None
"""A value by which rows are ordered."""
FORMAT = b"\0values\0"
"""Part of the signed text, so that tokens of another format are refused instead of misread."""
SEPARATOR = "\0"
"""Separates the values of a token. PostgreSQL stores no text that contains it."""


@dataclass(frozen=True, slots=True)
class OrderTerm:
    """One field of an order."""

    field: str
    descending: bool


Order = tuple[OrderTerm, ...]


def page_size(asked: int) -> int:
    """The number of rows on a page."""
    return min(asked, LARGEST_SIZE) if asked else DEFAULT_SIZE


def parse_order(text: str, sortable: tuple[str, ...], default: Order) -> Order:
    """Parse an `order_by`. The id is appended, so that the order is total. Raises Malformed."""
    terms = tuple(_term(part, sortable) for part in text.split(",")) if text.strip() else default
    names = [term.field for term in terms]
    if len(set(names)) != len(names):
        raise _refused("names a field twice")
    return (*terms, OrderTerm("id", terms[-1].descending))


def _term(part: str, sortable: tuple[str, ...]) -> OrderTerm:
    words = part.split()
    if not words or len(words) > 2 or (len(words) == 2 and words[1] not in ("asc", "desc")):  # noqa: PLR2004
        raise _refused(f"`{part.strip()}` is not a field with an optional ` desc`")
    name = _snake(words[0])
    if name not in sortable:
        raise _refused(f"`{words[0]}` cannot be sorted; these can: {', '.join(sortable)}")
    return OrderTerm(name, words[1:] == ["desc"])


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def _refused(message: str) -> Malformed:
    return Malformed(f"order_by: {message}.", reason=Reason.REASON_ORDER_INVALID)


def order_columns(table: FromClause, order: Order) -> list[AnyExpression]:
    """The ORDER BY of an order."""
    return [table.c[term.field].desc() if term.descending else table.c[term.field].asc() for term in order]


def after_cursor(table: FromClause, order: Order) -> ColumnElement[bool]:
    """The condition for rows after the cursor, whose values are the parameters `after_<n>`."""
    columns = [table.c[term.field] for term in order]
    values = [bindparam(f"after_{place}", type_=column.type) for place, column in enumerate(columns)]
    if len({term.descending for term in order}) == 1:
        # All terms have one direction: a row comparison, which an index answers as a range.
        row, cursor = tuple_(*columns), tuple_(*values)
        return row < cursor if order[0].descending else row > cursor
    steps = []
    for place, term in enumerate(order):
        beyond = columns[place] < values[place] if term.descending else columns[place] > values[place]
        steps.append(and_(*(columns[i] == values[i] for i in range(place)), beyond))
    return or_(*steps)


class PageTokens:
    """Writes and reads page tokens.

    A token is as short as its values allow, because it is sent back in a query and must satisfy the rule of
    `page_token`: 16 characters, and 4 for every 3 bytes of UTF-8. JSON with its escapes takes up to 12 bytes for a code
    point of 4.
    """

    def __init__(self, key: bytes, *accepted: bytes) -> None:
        """`key` signs. Tokens signed with any of `accepted` are read as well."""
        self._keys = (key, *accepted)

    def write(self, question: str, values: Sequence[OrderValue]) -> str:
        """The token for the page after a row with these order values."""
        payload = SEPARATOR.join(map(_told, values)).encode()
        return as_text(_signature(self._keys[0], question, payload) + payload)

    def read(self, question: str, token: str) -> dict[str, OrderValue]:
        """The parameters of `after_cursor`. Raises Malformed for a token of another query."""
        raw = from_text(token)
        if raw is None:
            raise _wrong_token()
        signature, payload = raw[:SIGNATURE_BYTES], raw[SIGNATURE_BYTES:]
        if all(signature != _signature(key, question, payload) for key in self._keys):
            raise _wrong_token()
        parts = payload.decode().split(SEPARATOR)
        return {f"after_{place}": _READERS[part[0]](part[1:]) for place, part in enumerate(parts)}


def _signature(key: bytes, question: str, payload: bytes) -> bytes:
    return sign(key, question.encode() + FORMAT + payload)[:SIGNATURE_BYTES]


def _told(value: OrderValue) -> str:
    """A value as text, with a prefix letter for its type."""
    if value is None:
        return "n"
    if isinstance(value, bool):
        return f"b{value:d}"
    if isinstance(value, int):
        return f"i{value}"
    # PostgreSQL parses a time, a date, an interval and a double from text, as Python writes them.
    return f"t{value.isoformat() if isinstance(value, datetime) else value}"


_READERS: Mapping[str, Callable[[str], OrderValue]] = {
    "n": lambda _: None,
    "b": lambda text: text == "1",
    "i": int,
    "t": str,
}


def _wrong_token() -> Malformed:
    return Malformed(
        "page_token: not one that this list gave for this filter and order.", reason=Reason.REASON_PAGE_TOKEN_INVALID
    )
