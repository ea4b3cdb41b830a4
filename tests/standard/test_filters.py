"""Filters (AIP-160), on the fields that every described resource has. Each runs through both doors."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.clients import Tenant, another_tenant, new_tenant
from tests.stack import Stack
from tests.standard.conftest import DOORS
from tests.standard.doors import Door, GrpcDoor, refusal
from tests.standard.resources import Described

pytestmark = pytest.mark.needs("key", "sorted_text", "move", "soft_deletes", most=1)
FAR = "2999-01-01T00:00:00Z"
PAST = "2000-01-01T00:00:00Z"

# Keys of what there is, each with its text. The third is deleted; the fourth has another enum value and the time set.
TEXTS = {"alpha": "Red apple", "beta": "Green pear", "gone": "Red apple", "delta": "", "eps": '100% "sure"_\\'}
ALL = {"alpha", "beta", "delta", "eps"}


@pytest.fixture(scope="module")
def filled(kind: Described, stack: Stack) -> tuple[Tenant, Described, dict[str, dict[str, Any]]]:
    """A tenant with a few to choose from. Tests only read."""
    tenant = new_tenant(stack)
    door = GrpcDoor(tenant, kind)
    made = {key: door.create(**{kind.key: key, kind.text: text}) for key, text in TEXTS.items()}
    door.delete(made["gone"]["id"])
    kind.move(tenant, made["delta"]["id"])
    return tenant, kind, made


@pytest.fixture
def door(through: str, filled: tuple[Tenant, Described, Any]) -> Door:
    """Both doors to it."""
    tenant, kind, _ = filled
    return DOORS[through](tenant, kind)


@pytest.fixture
def made(filled: tuple[Tenant, Described, dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """What there is, by key."""
    return filled[2]


def found(door: Door, text: str) -> set[str]:
    """The keys of what a filter finds; K, T, E and U stand for the fields of the resource."""
    return {item[door.kind.key] for item in door.listing(filter=named(door, text)).items}


def named(door: Door, text: str) -> str:
    """The filter with the resource's own names."""
    kind = door.kind
    names = {"{K}": kind.key, "{T}": kind.text, "{E}": kind.enum[0], "{U}": kind.unset_time}
    names |= {"{NEW}": kind.enum[1], "{OTHER}": kind.enum[2]}
    for sign, name in names.items():
        text = text.replace(sign, name)
    return text


FOUND: dict[str, set[str]] = {
    # Nothing asked.
    "": ALL,
    "   ": ALL,
    # Equality, quoted in either way or bare.
    "{K} = alpha": {"alpha"},
    '{K}="alpha"': {"alpha"},
    "{K} = 'alpha'": {"alpha"},
    '{T} = "Red apple"': {"alpha"},
    '{T} = "red apple"': set(),
    '{T} != "Red apple"': {"beta", "delta", "eps"},
    '{T} = ""': {"delta"},
    # Values are values, whatever they look like.
    """{T} = "100% \\"sure\\"_\\\\" """: {"eps"},
    "{T} = \"x' OR '1'='1\"": set(),
    '{T} = "AND"': set(),
    # Order.
    '{K} < "beta"': {"alpha"},
    '{K} <= "beta"': {"alpha", "beta"},
    '{K} > "delta"': {"eps"},
    '{K} >= "delta"': {"delta", "eps"},
    # AND in all its forms.
    '{K} = alpha AND {T} = "Red apple"': {"alpha"},
    "{K} = alpha AND {K} = beta": set(),
    "{K} != alpha {K} != beta": {"delta", "eps"},
    # OR, and that it binds tighter than AND.
    "{K} = alpha OR {K} = beta": {"alpha", "beta"},
    "{K} = alpha OR {K} = beta OR {K} = delta": {"alpha", "beta", "delta"},
    "{K} = alpha AND {T} = nothing OR {K} = alpha": {"alpha"},
    "{K} = alpha OR {K} = beta AND {K} = beta": {"beta"},
    "{K} = beta AND {K} = alpha OR {K} = beta": {"beta"},
    "({K} = beta AND {T} = nothing) OR {K} = alpha": {"alpha"},
    "{K} = alpha OR ({K} = beta AND {T} = nothing)": {"alpha"},
    # NOT and its short form.
    "NOT {K} = alpha": ALL - {"alpha"},
    "-{K} = alpha": ALL - {"alpha"},
    "NOT ({K} = alpha OR {K} = beta)": {"delta", "eps"},
    "-({K} = alpha OR {K} = beta)": {"delta", "eps"},
    "NOT {K} = alpha AND NOT {K} = beta": {"delta", "eps"},
    "NOT {K} = alpha OR {K} = alpha": ALL,
    # Parentheses, tight and wide.
    "({K} = alpha)": {"alpha"},
    "(({K} = alpha))": {"alpha"},
    "( {K} = alpha )": {"alpha"},
    "( {K} = alpha OR {K} = beta ) AND NOT ( {K} = beta )": {"alpha"},
    # Wildcards at either end of quoted text; what LIKE takes for wildcards is plain text.
    '{T} = "Red*"': {"alpha"},
    '{T} = "*pear"': {"beta"},
    '{T} = "*e*"': {"alpha", "beta", "eps"},
    '{T} = "*"': ALL,
    '{T} != "*apple"': {"beta", "delta", "eps"},
    '{T} = "red*"': set(),
    '{T} = "R_d*"': set(),
    '{T} = "100%*"': {"eps"},
    '{T} = "1%*"': set(),
    '{T} = "*_\\\\"': {"eps"},
    # `:` is contains, without regard to case.
    "{T}:apple": {"alpha"},
    '{T}:"RED AP"': {"alpha"},
    '{T}:"%"': {"eps"},
    '{T}:"_"': {"eps"},
    "NOT {T}:apple": {"beta", "delta", "eps"},
    # `:*` is "is set".
    "{U}:*": {"delta"},
    "NOT {U}:*": ALL - {"delta"},
    "{K}:*": ALL,
    "{T}:*": ALL - {"delta"},
    # Enums by their short or full name.
    "{E} = {NEW}": ALL - {"delta"},
    "{E} = STATUS_{NEW}": ALL - {"delta"},
    '{E} = "{OTHER}"': {"delta"},
    "{E} != {NEW}": {"delta"},
    # Times, quoted or bare, with any offset.
    f'create_time > "{PAST}"': ALL,
    f"create_time > {PAST}": ALL,
    f"create_time > {FAR}": set(),
    f"createTime < {FAR}": ALL,
    'create_time > "2000-01-01T00:00:00+02:00"': ALL,
    "create_time > 2000-01-01T00:00:00.123456Z": ALL,
    "create_time > 2000-01-01": ALL,
    'create_time > "9999-12-31T23:59:59-10:00"': set(),
    'create_time < "0001-01-01T00:00:00+10:00"': set(),
    f"{{U}} > {PAST}": {"delta"},
    f"{{U}} < {PAST}": set(),
    # Whatever is asked, either it or its negation holds: what is unset is not lost between the two.
    f"NOT {{U}} > {FAR}": ALL,
    f"NOT {{U}} < {FAR}": ALL - {"delta"},
}


@pytest.mark.parametrize("text", FOUND)
def test_a_filter_finds(door: Door, made: dict[str, dict[str, Any]], text: str) -> None:
    assert made
    assert found(door, text) == FOUND[text]


def test_a_time_is_compared_to_the_microsecond(door: Door, made: dict[str, dict[str, Any]]) -> None:
    moment = made["beta"]["createTime"]
    assert found(door, f'create_time = "{moment}"') == {"beta"}
    assert found(door, f'create_time >= "{moment}"') == ALL - {"alpha"}
    assert found(door, f'create_time < "{moment}"') == {"alpha"}


def test_an_id_is_found_in_any_case(door: Door, made: dict[str, dict[str, Any]]) -> None:
    assert found(door, f"id = {made['beta']['id']}") == {"beta"}
    assert found(door, f'id != "{made["beta"]["id"].upper()}"') == ALL - {"beta"}


def test_a_filter_applies_to_what_is_deleted_where_that_is_listed(door: Door) -> None:
    options: dict[str, Any] = {"filter": named(door, '{T} = "Red apple"'), "show_deleted": True}
    items = door.listing(**options).items
    assert {item[door.kind.key]: "deleteTime" in item for item in items} == {"alpha": False, "gone": True}


def test_a_filter_never_shows_another_tenants(filled: tuple[Tenant, Described, Any]) -> None:
    tenant, kind, _ = filled
    elsewhere = GrpcDoor(another_tenant(tenant), kind)
    for text in ("", "{K} = alpha OR {K}:*", f"create_time > {PAST}", "NOT {K} = nothing"):
        assert found(elsewhere, text) == set()


# Where each goes wrong, with `a` for the key: the place of the sign, counted from one.
POSITIONS = {
    "{K} =": 4,
    "{K}": 1,
    "{K} alpha": 1,
    "= alpha": 1,
    "{K} = alpha AND": 14,
    "{K} = alpha OR": 13,
    "({K} = alpha": 11,
    "{K} = alpha)": 10,
    '{K} = "alpha': 5,
    "{K} = = alpha": 5,
    "{K} == alpha": 4,
    "{K} = alpha AND AND {K} = beta": 15,
    "NOT": 4,
    "()": 2,
    "{K} = (alpha)": 5,
    "{K} = alpha, {K} = beta": 10,
}


@pytest.mark.parametrize("text", POSITIONS)
def test_a_filter_that_does_not_parse_names_the_place(door: Door, text: str) -> None:
    with refusal("FILTER_INVALID") as refused:
        found(door, text)
    position = int(refused.problem.metadata["position"])
    assert refused.problem.message.endswith(f" at character {position}.")
    assert position == _moved(door, text)


def _moved(door: Door, text: str) -> int:
    """The place, moved by the length of the names that stand before it."""
    place = POSITIONS[text]
    return place + (len(door.kind.key) - 1) * text.replace("{K}", "\1")[: place - 1].count("\1")


WRONG: dict[str, Callable[[Described], str]] = {
    "nope = 1": lambda _: "nope",
    "{K}.deep = 1": lambda kind: f"{kind.key}.deep",
    "tenant_id = 1": lambda _: "tenant_id",
    "{F} = x": lambda kind: kind.unfilterable,
    "{E} = NONSENSE": lambda kind: kind.enum[0],
    "{E} = 1": lambda kind: kind.enum[0],
    "{E} < {NEW}": lambda kind: kind.enum[0],
    "{E}:{NEW}": lambda kind: kind.enum[0],
    "create_time = yesterday": lambda _: "create_time",
    'create_time > ""': lambda _: "create_time",
    "create_time:2026": lambda _: "create_time",
    "id = nonsense": lambda _: "id",
    "id < 01890000-0000-7000-8000-000000000000": lambda _: "id",
    '{K} = "a\0b"': lambda kind: kind.key,
    '{K}:"a\0b"': lambda kind: kind.key,
}


@pytest.mark.parametrize("text", WRONG)
def test_a_field_or_value_that_cannot_be_filtered_is_named(door: Door, text: str) -> None:
    with refusal("FILTER_INVALID") as refused:
        found(door, text.replace("{F}", door.kind.unfilterable))
    assert refused.problem.metadata["field"] == WRONG[text](door.kind)


def test_a_filter_has_bounds(door: Door) -> None:
    most = " AND ".join(["{K} != x"] * 50)
    assert found(door, most) == ALL
    for text in (f"{most} AND {{K}} != y", "(" * 25 + "{K} = x" + ")" * 25, "NOT " * 30 + "{K} = x"):
        with refusal("FILTER_INVALID"):
            found(door, text)
