"""Queries: filters, orders and page tokens of lists."""

from server.kernel.queries.filter_sql import BoundFilter, FilterPlan
from server.kernel.queries.filters import parse_filter
from server.kernel.queries.pages import OrderTerm, PageTokens, after_cursor, order_columns, page_size

__all__ = [
    "BoundFilter",
    "FilterPlan",
    "OrderTerm",
    "PageTokens",
    "after_cursor",
    "order_columns",
    "page_size",
    "parse_filter",
]
