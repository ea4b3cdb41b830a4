"""List (AIP-132, 158): pages, tokens, totals and order."""

from dataclasses import replace
from typing import Any

import pytest

from tests.clients import Session, Tenant, another_tenant, database, log_in, new_member, rows
from tests.standard.doors import Door, GrpcDoor, Listing, RestDoor, refusal
from tests.standard.resources import Described, having

needs = pytest.mark.needs
pytestmark = needs("alone", "no_secret", "text")
ORDERS = [
    (kind, field, direction)
    for kind in having("sorted_text", "other", "no_secret")
    for field in kind.sortable
    for direction in ("", " asc", " desc")
]


def walk(door: Door, **options: Any) -> list[Listing]:
    """Every page of a list."""
    pages = [door.listing(**options)]
    while pages[-1].token:
        assert len(pages) < 100, "the list never ends"
        pages.append(door.listing(**options, page_token=pages[-1].token))
    return pages


def ids(pages: list[Listing]) -> list[str]:
    """The ids on all pages."""
    return [found for page in pages for found in page.ids]


def made(door: Door, count: int, **body: Any) -> list[str]:
    """The ids of so many new ones, newest first."""
    return [door.create(**body)["id"] for _ in range(count)][::-1]


def test_a_list_of_nothing_is_empty(door: Door) -> None:
    assert door.listing() == Listing([], "", None)
    assert door.listing(include_total=True) == Listing([], "", 0)


@needs("newest_first")
def test_a_list_is_newest_first_and_has_what_get_has(door: Door) -> None:
    expected = made(door, 4)
    listing = door.listing()
    assert listing.ids == expected
    assert listing.items == [door.get(one) for one in expected]
    assert listing.token == ""


@needs("newest_first")
def test_page_sizes(door: Door) -> None:
    expected = made(door, 26)
    for asked, size in ((None, 25), (0, 25), (1, 1), (25, 25), (26, 26), (200, 26), (2_000_000, 26)):
        listing = door.listing(**({} if asked is None else {"page_size": asked}))
        assert listing.ids == expected[:size]
        assert bool(listing.token) == (size < 26)


@needs("key")
def test_no_page_is_larger_than_200(rest: RestDoor) -> None:
    fill(rest, 203)
    first, second = walk(rest, page_size=1000)
    assert (len(first.items), len(second.items)) == (200, 3)


# As long as a text may be, of code points that take most: in UTF-8, in JSON, in a query, and in all of them by turns.
LONGEST = ["\U0001f600", "\x01", '"', "%", "\u2028", '\U0001f600\x01"\\%&']


@needs("key", "sorted_text")
@pytest.mark.parametrize("order", ["{text}", "{text} desc", "{text},{key} desc,update_time,create_time desc"])
def test_the_tokens_of_the_longest_values_are_taken(door: Door, order: str) -> None:
    kind = door.kind
    longest = kind.longest(kind.text)
    texts = [(signs * longest)[: longest - len(end)] + end for signs in LONGEST for end in ("", "a")]
    for place, text in enumerate(texts):
        door.create(**{kind.key: f"{'k' * (kind.longest(kind.key) - 4)}-{place:03d}", kind.text: text})
    order_by = order.format(text=kind.text, key=kind.key)
    everything = door.listing(order_by=order_by)
    assert ids(walk(door, order_by=order_by, page_size=1)) == everything.ids
    assert {item[kind.text] for item in everything.items} == set(texts)


def fill(door: Door, count: int) -> None:
    """So many copies of one resource, made in the database, since it is their number that counts."""
    table, key = door.kind.table, door.kind.key
    one = door.create()
    named = "SELECT column_name FROM information_schema.columns WHERE table_name = %s"
    columns = [row["column_name"] for row in rows(door.tenant.stack, named, table)]
    own = {"id": "gen_random_uuid()", key: f"{key} || '-' || n"}
    values = ", ".join(own.get(name, name) for name in columns)
    copies = f"SELECT {values} FROM {table}, generate_series(2, %s) n WHERE id = %s"
    with database(door.tenant.stack) as connection:
        connection.execute(f"INSERT INTO {table} ({', '.join(columns)}) {copies}".encode(), (count, one["id"]))


@pytest.mark.parametrize("options", [{"page_size": -1}, {"skip": -1}, {"skip": 10_001}, {"filter": "x" * 2001}])
def test_options_out_of_bounds_break_a_rule(door: Door, options: dict[str, Any]) -> None:
    with refusal("RULE_VIOLATED") as refused:
        door.listing(**options)
    assert set(refused.problem.violations) == {door.named(name) for name in options}


def test_pages_are_the_whole_list_in_whatever_order_it_has(door: Door) -> None:
    expected = {*made(door, 7)}
    everything = door.listing()
    assert ({*everything.ids}, len(everything.ids)) == (expected, 7)
    assert ids(walk(door, page_size=3)) == everything.ids
    assert [item["id"] for page in walk(door, page_size=2) for item in page.items] == everything.ids
    assert everything.items == [door.get(one) for one in everything.ids]


@needs("newest_first")
@pytest.mark.parametrize("size", [1, 2, 5, 9, 10, 11])
def test_pages_together_are_the_whole_list(rest: RestDoor, size: int) -> None:
    expected = made(rest, 10)
    pages = walk(rest, page_size=size)
    assert ids(pages) == expected
    assert [page.ids for page in pages] == [expected[at : at + size] for at in range(0, 10, size)]


@needs("sorted_text")
def test_rows_that_tie_in_the_order_are_neither_repeated_nor_skipped(door: Door) -> None:
    text = door.kind.text
    expected = set(made(door, 7, **{text: "the same"}))
    for order in (text, f"{text} desc"):
        found = ids(walk(door, page_size=2, order_by=order))
        assert len(found) == len(expected)
        assert set(found) == expected


@needs("key")
def test_rows_of_one_moment_are_neither_repeated_nor_skipped(rest: RestDoor) -> None:
    fill(rest, 30)
    found = ids(walk(rest, page_size=7))
    assert len(found) == len(set(found)) == 30


@needs("newest_first")
def test_what_is_created_while_paging_repeats_nothing_and_hides_nothing_old(door: Door) -> None:
    old = made(door, 9)
    found: list[str] = []
    token = ""
    while True:
        page = door.listing(page_size=2, page_token=token)
        found += page.ids
        token = page.token
        if not token:
            break
        door.create()
    assert found == old


@needs("newest_first")
def test_what_is_deleted_while_paging_hides_nothing_else(door: Door) -> None:
    old = made(door, 6)
    first = door.listing(page_size=2)
    # The last one seen is what the token stands on.
    door.delete(first.ids[-1])
    assert first.ids + ids(_rest_of(door, first)) == old


def _rest_of(door: Door, page: Listing) -> list[Listing]:
    pages = []
    while page.token:
        page = door.listing(page_size=2, page_token=page.token)
        pages.append(page)
    return pages


@needs("soft_deletes")
@pytest.mark.parametrize(
    "other",
    [
        {"filter": 'create_time > "2020-01-01T00:00:00Z"'},
        {"order_by": "create_time"},
        {"show_deleted": True},
    ],
    ids=lambda options: next(iter(options)),
)
def test_a_page_token_answers_no_other_question(door: Door, other: dict[str, Any]) -> None:
    made(door, 3)
    for asked, then in (({}, other), (other, {})):
        token = door.listing(page_size=1, **asked).token
        with refusal("PAGE_TOKEN_INVALID"):
            door.listing(page_size=1, page_token=token, **then)
        assert door.listing(page_size=1, page_token=token, **asked).items


@needs("newest_first")
def test_a_page_token_may_go_on_with_another_size(door: Door) -> None:
    expected = made(door, 5)
    first = door.listing(page_size=2)
    assert first.ids + door.listing(page_size=3, page_token=first.token).ids == expected


@needs("!owner", "!parent")
def test_a_page_token_is_the_callers_alone(tenant: Tenant, kind: Described) -> None:
    door = GrpcDoor(tenant, kind)
    made(door, 3)
    token = door.listing(page_size=1).token
    account, session = new_member(tenant, "admin")
    other = GrpcDoor(_as(tenant, session), kind)
    with refusal("PAGE_TOKEN_INVALID"):
        other.listing(page_size=1, page_token=token)
    # The same person in another session goes on.
    own = other.listing(page_size=1).token
    again = GrpcDoor(_as(tenant, log_in(tenant.stack, account)), kind)
    assert again.listing(page_size=1, page_token=own).items


def _as(tenant: Tenant, session: Session) -> Tenant:
    return replace(tenant, session=session)


def test_a_page_token_of_another_tenant_is_refused(door: Door) -> None:
    made(door, 2)
    elsewhere = door.at(another_tenant(door.tenant))
    made(elsewhere, 2)
    with refusal("PAGE_TOKEN_INVALID"):
        elsewhere.listing(page_size=1, page_token=door.listing(page_size=1).token)


def test_a_page_token_that_was_touched_is_refused(door: Door) -> None:
    made(door, 2)
    token = door.listing(page_size=1).token
    for wrong in (
        "x",
        "===",
        "ä",
        token[:-4],
        token + "AAAA",
        token[:20] + ("A" if token[20] != "A" else "B") + token[21:],
    ):
        with refusal("PAGE_TOKEN_INVALID"):
            door.listing(page_size=1, page_token=wrong)


@needs("newest_first")
def test_skip_counts_from_the_start_or_from_the_token(door: Door) -> None:
    expected = made(door, 6)
    assert door.listing(skip=2).ids == expected[2:]
    first = door.listing(page_size=2, skip=1)
    assert first.ids == expected[1:3]
    assert door.listing(page_size=2, skip=1, page_token=first.token).ids == expected[4:6]
    assert door.listing(skip=6) == door.listing(skip=10_000) == Listing([], "", None)


@needs("sorted_text")
def test_the_total_is_of_all_that_match_whatever_the_page(door: Door) -> None:
    text = door.kind.text
    made(door, 3, **{text: "a"})
    made(door, 2, **{text: "b"})
    assert door.listing().total is None
    assert door.listing(include_total=True).total == 5
    first = door.listing(include_total=True, page_size=2)
    assert (first.total, len(first.items)) == (5, 2)
    assert door.listing(include_total=True, page_size=2, page_token=first.token).total == 5
    assert door.listing(include_total=True, filter=f'{text} = "a"').total == 3


@needs("sorted_text")
def test_the_total_stands_on_an_empty_page_too(door: Door) -> None:
    made(door, 3)
    assert door.listing(include_total=True, skip=50) == Listing([], "", 3)
    assert door.listing(include_total=True, filter=f'{door.kind.text} = "nobody has this"') == Listing([], "", 0)


@needs("soft_deletes")
def test_the_total_leaves_out_what_is_deleted_unless_it_is_listed(door: Door) -> None:
    one, *_ = made(door, 3)
    door.delete(one)
    assert door.listing(include_total=True).total == 2
    assert door.listing(include_total=True, show_deleted=True).total == 3


@pytest.mark.parametrize(("kind", "field", "direction"), ORDERS, ids=lambda value: getattr(value, "plural", value))
def test_every_sortable_field_sorts_both_ways(tenant: Tenant, kind: Described, field: str, direction: str) -> None:
    door = GrpcDoor(tenant, kind)
    name = "".join(word.capitalize() if place else word for place, word in enumerate(field.split("_")))
    for text in ("bb", "a", "Cc", "dd"):
        door.create(**{kind.text: text})
    door.update(door.listing().ids[-1], {kind.other: "later"})
    items = door.listing().items
    found = [item[name] for item in _pages_of(door, order_by=f"{field}{direction}")]
    assert len(found) == 4
    if field == kind.text:
        # Text sorts as the database collates it; what has to hold is that both ways are each other's mirror.
        assert sorted(found) == sorted(item[name] for item in items)
        other = [item[name] for item in _pages_of(door, order_by=f"{field}{'' if direction == ' desc' else ' desc'}")]
        assert found == other[::-1]
        position = {text: found.index(text) for text in found}
        assert (position["bb"] < position["dd"]) == (direction != " desc")
    else:
        assert found == sorted((item[name] for item in items), reverse=direction == " desc")


def _pages_of(door: Door, **options: Any) -> list[dict[str, Any]]:
    return [item for page in walk(door, page_size=3, **options) for item in page.items]


@needs("sorted_text")
def test_fields_sort_one_after_the_other(door: Door) -> None:
    kind = door.kind
    first, second, third, fourth = (door.create(**{kind.text: text})["id"] for text in "abab")
    order = f"{kind.text} desc, create_time"
    assert ids(walk(door, page_size=1, order_by=order)) == [second, fourth, first, third]
    assert ids(walk(door, page_size=3, order_by=f"{kind.text},create_time desc")) == [third, first, fourth, second]


@needs("newest_first")
def test_an_order_takes_json_names(door: Door) -> None:
    expected = made(door, 2)
    assert door.listing(order_by="createTime").ids == expected[::-1]


@needs("sorted_text")
@pytest.mark.parametrize(
    "order", ["nope", "{0} sideways", "{0} desc asc", "{0},", ",{0}", "{0},{0} desc", "{1}", "{0};drop", "id"]
)
def test_an_order_that_is_none_is_refused(door: Door, order: str) -> None:
    with refusal("ORDER_INVALID") as refused:
        door.listing(order_by=order.format(door.kind.text, door.kind.unsortable))
    assert refused.problem.message.startswith(f"{door.named('order_by')}: ")


def test_an_unknown_query_parameter_is_refused(rest: RestDoor) -> None:
    response = rest.tenant.rest.get(rest.path, {"pagesize": 3})
    assert response.status_code == 400
