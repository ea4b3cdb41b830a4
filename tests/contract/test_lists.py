"""Every list: any text is a filter or FILTER_INVALID, and every page token that can be given can be sent back."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from buf.validate import validate_pb2
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import given, settings
from hypothesis import strategies as st

from server import app
from server.domains.audit.entries import ENTRIES
from server.domains.webhooks.service import DELIVERIES
from server.kernel.ids import new_id
from server.kernel.policy import Access, MethodPolicy
from server.kernel.queries.pages import PageTokens
from server.kernel.resources.resource import Resource
from tests.clients import Problem
from tests.contract import doors, wall
from tests.domains.platform import new_platform_admin
from tests.stack import Stack

LISTS = [method for method in app.policies().values() if "page_token" in method.descriptor.input_type.fields_by_name]
FILTERED = [method for method in app.policies().values() if "filter" in method.descriptor.input_type.fields_by_name]
RESOURCES: list[Resource[Any]] = [
    *(service.resource for service in app.SERVICES if service.resource),
    ENTRIES,
    DELIVERIES,
]
SORTED = [resource for resource in RESOURCES if resource.sortable]
TOKENS = PageTokens(b"k" * 32)
# Of an int32; every enum has fewer.
LARGEST = 2**31 - 1
LATEST = datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)
WIDE = st.characters(min_codepoint=0x10000, max_codepoint=0x10FFFF)
ANY = st.characters(codec="utf-8", exclude_characters="\0")
# What breaks into characters of a query, of JSON and of text by turns.
AWKWARD = st.sampled_from('"\\\n\x01\x7f%&+\u2028é😀')


# Page tokens ---------------------------------------------------------------------------------------------------------


def longest_token() -> int:
    """What the rules of all lists let through."""
    rules = {rule_of(method.descriptor.input_type.fields_by_name["page_token"]) for method in LISTS}
    assert len(LISTS) > 10
    return min(rules)


def rule_of(field: Any) -> int:
    """The `max_len` of a text field, in code points."""
    longest = field.GetOptions().Extensions[validate_pb2.field].string.max_len
    assert longest, f"{field.full_name} has no max_len"
    return int(longest)


def longest_values(resource: Resource, signs: st.SearchStrategy[str]) -> st.SearchStrategy[list[Any]]:
    """The values of one row in an order over every sortable field, each as long as it may be."""
    fields: Any = resource.message.DESCRIPTOR.fields_by_name
    longest = [longest_value(fields[name], signs) for name in resource.sortable]
    return st.tuples(*longest, st.builds(new_id)).map(list)


def longest_value(field: Any, signs: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """The longest values of a field. A pattern, or a rule that is one (slugs, names of roles), makes them ASCII."""
    if field.message_type is not None:
        return st.just(LATEST)
    if field.type != FieldDescriptor.TYPE_STRING:
        return st.just(LARGEST)
    rules = field.GetOptions().Extensions[validate_pb2.field].string
    if rules.pattern or any(rule.is_extension for rule, _ in rules.ListFields()):
        return st.just("a" * rule_of(field))
    return st.text(signs, min_size=rule_of(field), max_size=rule_of(field))


@pytest.mark.parametrize("resource", SORTED, ids=lambda resource: resource.message.DESCRIPTOR.name)
@given(data=st.data(), signs=st.sampled_from([WIDE, ANY, AWKWARD]))
def test_every_token_keeps_the_rule_of_tokens_and_brings_its_values_back(
    resource: Resource, data: st.DataObject, signs: st.SearchStrategy[str]
) -> None:
    values = data.draw(longest_values(resource, signs))
    token = TOKENS.write("question", values)
    assert len(token) <= longest_token()
    assert list(TOKENS.read("question", token).values()) == [
        value.isoformat() if isinstance(value, datetime) else value for value in values
    ]


# Filters -------------------------------------------------------------------------------------------------------------


AWKWARD_TIMES = (
    *("0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "10000-01-01T00:00:00Z"),
    *("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-23:59", "2026-02-30T00:00:00Z", "2016-12-31T23:59:60Z"),
    *("2026-01-01T24:00:00Z", "2026-01-01T00:00:00+23:59", "2026-01-01T00:00:00-23:59", "2026-01-01T00:00:00+24:00"),
    *("2026-01-01T00:00:00+00:00:00.000001", "2026-01-01T00:00:00.1234567Z", "2026-W01-1", "infinity", "-infinity"),
    *("9999-12-31T23:59:59-15:59:30", "now", "epoch", "1e9", "2026-01-01", "20260101T000000Z", "-0001-01-01"),
)
AWKWARD_NUMBERS = (
    *("0", "-1", "32767", "32768", "-32769", "2147483647", "2147483648", "-2147483649", "9223372036854775807"),
    *("9223372036854775808", "-9223372036854775809", "1" * 400, "1e5", "1.5", "1_000", "0x10", "+1", "\u0661", "NaN"),
)
AWKWARD_WORDS = (
    *("true", "false", "TRUE", "null", "*", "**", "%", "\\", "UNSPECIFIED", "NONSENSE", "é", "e\u0301", "\U0001f600"),
    *("00000000-0000-0000-0000-000000000000", "{00000000-0000-0000-0000-000000000000}", "urn:uuid:" + "0" * 32),
    *("0" * 32, "0" * 31, "\u0660" * 32, "_" * 32, "zzzzzzzz-0000-0000-0000-000000000000"),
)
AWKWARD_VALUES = AWKWARD_TIMES + AWKWARD_NUMBERS + AWKWARD_WORDS
OPERATORS = st.sampled_from(["=", "!=", "<", "<=", ">", ">=", ":"])
PIECES = st.sampled_from([*"()-=<>!:,*\"'\\ .", "AND", "OR", "NOT", "id", "create_time", "a"])


def filters_over(method: MethodPolicy) -> st.SearchStrategy[str]:
    """Comparisons of the list's own fields with what they may be unable to hold, and any text."""
    names = st.sampled_from([*listed_by(method).fields_by_name])
    values = st.sampled_from(AWKWARD_VALUES) | st.text(ANY, max_size=20).map(lambda text: text.replace("\0", ""))
    quoted = values.map(lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"')
    comparison = st.builds("{}{}{}".format, names, OPERATORS, quoted | values)
    joined = st.lists(comparison, min_size=1, max_size=3).map(" OR ".join)
    return joined | st.lists(PIECES, max_size=20).map("".join) | st.text(ANY, max_size=60)


def awkward_filters(method: MethodPolicy) -> Iterator[tuple[str, str]]:
    """Each field of what is listed, and its comparison with each value that its kind may be unable to hold."""
    for field in listed_by(method).fields:
        time = field.message_type is not None and field.message_type.full_name == "google.protobuf.Timestamp"
        numeric = field.type == FieldDescriptor.TYPE_INT32
        for value in AWKWARD_TIMES if time else AWKWARD_NUMBERS if numeric else AWKWARD_WORDS:
            yield field.name, f'{field.name} = "{value}"'.replace("\\", "\\\\")


def listed_by(method: MethodPolicy) -> Any:
    """The message that a list answers many of."""
    (listed,) = (field.message_type for field in method.descriptor.output_type.fields if field.is_repeated)
    return listed


Ask = Callable[[MethodPolicy, str], Problem | None]
"""Takes a list and a filter."""


@pytest.fixture(scope="module")
def ask(stack: Stack) -> Iterator[Ask]:
    """Asks any list, as the owner of a tenant or as who runs the platform."""
    house, platform = wall.furnished(stack), new_platform_admin(stack).access_token
    with doors.channel(stack) as channel:

        def listed(method: MethodPolicy, text: str) -> Problem | None:
            request: Any = house.request(method)
            request.filter = text
            token = platform if method.access is Access.PLATFORM else house.tenant.access_token
            return doors.Grpc(channel, token).call(method, request).problem

        yield listed


@pytest.mark.parametrize("method", FILTERED, ids=lambda method: method.name)
def test_what_a_field_cannot_hold_is_refused_with_the_field(ask: Ask, method: MethodPolicy) -> None:
    for field, text in awkward_filters(method):
        problem = ask(method, text)
        assert problem is None or (problem.reason, problem.metadata) == ("FILTER_INVALID", {"field": field}), text
    for moment in ("0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "2026-02-30T00:00:00Z", "2016-12-31T23:59:60Z"):
        problem = ask(method, f"create_time > {moment}")
        assert problem is not None, moment


@pytest.mark.parametrize("method", FILTERED, ids=lambda method: method.name)
@settings(max_examples=40)
@given(data=st.data())
def test_any_text_is_a_filter_or_is_refused_as_one(ask: Ask, method: MethodPolicy, data: st.DataObject) -> None:
    text = data.draw(filters_over(method))
    problem = ask(method, text)
    if problem is not None:
        assert problem.reason == "FILTER_INVALID", (text, problem)
        assert {*problem.metadata} & {"field", "position"}, (text, problem)
