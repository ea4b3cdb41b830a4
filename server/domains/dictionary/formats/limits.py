"""The limits of fields, as the contract has them."""

from functools import cache

from buf.validate.validate_pb2 import FieldRules
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from server.extensions import RULES


def most_characters(message: type[Message], field: str) -> int:
    """The longest text of a field, or of an item of it."""
    rules = _rules(message, field)
    return int(rules.repeated.items.string.max_len or rules.string.max_len)


def most_items(message: type[Message], field: str) -> int:
    """The largest number of items of a field."""
    return int(_rules(message, field).repeated.max_items)


def _rules(message: type[Message], field: str) -> FieldRules:
    return _rules_of(message.DESCRIPTOR, field)


@cache
def _rules_of(message: Descriptor, field: str) -> FieldRules:
    return message.fields_by_name[field].GetOptions().Extensions[RULES]
