"""Messages: masks, changes, ETags, free-form JSON, text."""

from server.kernel.messages.etags import etag_of
from server.kernel.messages.money import MOST_MINOR, NoMoney, decimal_places, fill_money, minor_units, read_money
from server.kernel.messages.resource_types import resource_type_of
from server.kernel.messages.sizes import fitting
from server.kernel.messages.structs import fill_struct, plain_struct
from server.kernel.messages.text import normal_form, normaliser

__all__ = [
    "MOST_MINOR",
    "NoMoney",
    "decimal_places",
    "etag_of",
    "fill_money",
    "fill_struct",
    "fitting",
    "minor_units",
    "normal_form",
    "normaliser",
    "plain_struct",
    "read_money",
    "resource_type_of",
]
