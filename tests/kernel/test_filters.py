"""Filters: text to a tree, and the tree to what rows match."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plinth.sites.v1.page_pb2 import ListPagesRequest, Page
from sqlalchemy import BigInteger, Column, Integer, MetaData, SmallInteger, Table
from sqlalchemy.types import TypeEngine

from server.domains.sites.tables import pages
from server.kernel.problems import Malformed
from server.kernel.queries.filter_sql import FilterPlan
from server.kernel.queries.filters import DEEPEST, MOST_TERMS, Comparison, Filter, Node, comparisons, parse_filter
from tests.clients import Tenant, new_tenant
from tests.stack import Stack

NAMES = ("id", "slug", "title", "status", "create_time", "publish_time")
FIELDS: Any = Page.DESCRIPTOR.fields_by_name
PLAN = FilterPlan(FIELDS, pages, NAMES)
PIECES = st.sampled_from(
    [*"()-=<>!:,*\"'\\ .", "AND", "OR", "NOT", "<=", ">=", "!=", "title", "a", "1", '"x*"', "'", "2026-01-01T00:00:00Z"]
)


Found = TypeVar("Found")


def outcome(work: Callable[[], Found]) -> Found | Malformed:
    """What it gives, or the one problem that it may raise."""
    try:
        return work()
    except Malformed as problem:
        return problem


@given(st.lists(PIECES, max_size=30).map("".join) | st.lists(PIECES, max_size=30).map(" ".join) | st.text(max_size=60))
def test_any_text_is_a_filter_or_malformed(text: str) -> None:
    parsed = outcome(lambda: parse_filter(text))
    if isinstance(parsed, Malformed):
        assert parsed.reason_name == "FILTER_INVALID"
        assert 1 <= int(parsed.metadata["position"]) <= len(text) + 1
    else:
        places = [comparison.place for comparison in comparisons(parsed.shape)]
        assert places == list(range(len(parsed.values)))


@given(st.lists(PIECES, max_size=12).map(" ".join))
def test_any_filter_is_bound_or_malformed(text: str) -> None:
    bound = outcome(lambda: PLAN.bind(parse_filter(text)))
    if isinstance(bound, Malformed):
        assert bound.reason_name == "FILTER_INVALID"
    else:
        assert (PLAN.condition(bound) is None) == (bound.shape is None)


def shape(text: str) -> str:
    """The tree with its fields alone, fully parenthesised."""
    return _show(parse_filter(text).shape)


def _show(node: Node | None) -> str:
    if node is None:
        return ""
    if isinstance(node, Comparison):
        return node.field
    return f"{node.operator}({' '.join(map(_show, node.parts))})"


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("", ""),
        ("  ", ""),
        ("a=1", "a"),
        ("a=1 AND b=1 OR c=1", "and(a or(b c))"),
        ("a=1 OR b=1 AND c=1", "and(or(a b) c)"),
        ("a=1 b=1 OR c=1", "and(a or(b c))"),
        ("NOT a=1 OR b=1", "or(not(a) b)"),
        ("-a=1 b=1", "and(not(a) b)"),
        ("NOT (a=1 OR b=1)", "not(or(a b))"),
        ("(a=1 AND b=1) OR c=1", "or(and(a b) c)"),
        ("((a=1))", "a"),
        ("( a = 1 )", "a"),
        ("a=1 AND ( b=1 OR c=1 )", "and(a or(b c))"),
        ("a.b=1", "a.b"),
    ],
)
def test_or_binds_tighter_than_and(text: str, tree: str) -> None:
    assert shape(text) == tree


@pytest.mark.parametrize(
    ("text", "value", "quoted"),
    [
        ("a=x", "x", False),
        ('a="x y"', "x y", True),
        ("a='x \" y'", 'x " y', True),
        (r'a="x \" \\ y"', 'x " \\ y', True),
        ("a=-5", "-5", False),
        ("a=AND", "AND", False),
        ("a>2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", False),
        ("a>2026-01-01T10:20:30.5+02:00", "2026-01-01T10:20:30.5+02:00", False),
        ("a:*", "*", False),
        ('a=""', "", True),
        ("a=1.5", "1.5", False),
    ],
)
def test_values_are_read(text: str, value: str, quoted: bool) -> None:  # noqa: FBT001 - a fact of the table
    (found,) = parse_filter(text).values
    assert (found.text, found.quoted) == (value, quoted)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("title", 1),
        ("=1", 1),
        ("a=1 AND", 8),
        ("a=1)", 4),
        ("(a=1", 5),
        ("a=", 3),
        ("a=1 ?", 5),
        ('a="x', 3),
        ("a=1 OR OR b=1", 8),
        ("()", 2),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, position: int) -> None:
    with pytest.raises(Malformed) as caught:
        parse_filter(text)
    assert caught.value.http_status == 400
    assert abs(int(caught.value.metadata["position"]) - position) <= 1


def test_length_and_depth_are_bounded() -> None:
    assert len(parse_filter(" AND ".join(["a=1"] * MOST_TERMS)).values) == MOST_TERMS
    with pytest.raises(Malformed, match="more than 50"):
        parse_filter(" AND ".join(["a=1"] * (MOST_TERMS + 1)))
    assert shape("(" * (DEEPEST - 1) + "a=1" + ")" * (DEEPEST - 1)) == "a"
    with pytest.raises(Malformed, match="more than 20"):
        parse_filter("(" * DEEPEST + "a=1" + ")" * DEEPEST)


@pytest.mark.parametrize(
    "text",
    [
        "nope=1",
        "tenant_id=x",
        "id=not-a-uuid",
        "id<01900000-0000-7000-8000-000000000000",
        "id:abc",
        "status=NOPE",
        "status>DRAFT",
        "create_time=yesterday",
        "create_time:2026",
        'title="a\0b"',
        "title:a\0b",
    ],
)
def test_fields_and_values_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(Malformed) as caught:
        PLAN.bind(parse_filter(text))
    assert caught.value.reason_name == "FILTER_INVALID"
    assert caught.value.metadata["field"]


def test_filters_that_differ_in_values_alone_share_their_sql() -> None:
    first, second = (PLAN.bind(parse_filter(f'title = "{value}" AND status = DRAFT')) for value in ("a", "b"))
    assert first.key == second.key
    assert first.parameters != second.parameters
    assert PLAN.bind(parse_filter('title = "a*" AND status = DRAFT')).key != first.key


def test_names_in_camel_case_are_taken() -> None:
    assert PLAN.bind(parse_filter("createTime > 2026-01-01")).parameters == {
        "filter_0": datetime(2026, 1, 1, tzinfo=UTC)
    }


# Brute force ---------------------------------------------------------------------------------------------------------

Row = dict[str, Any]
SLUGS = [f"p-{number}" for number in range(10)]
TITLES = ["", "Home", "home", "50% off", "under_score", "back\\slash", 'quo"te', "Straße", "Home page", "a*b"]


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


@pytest.fixture(scope="module")
def stored(tenant: Tenant) -> list[Row]:
    """Pages of every kind, as REST shows them."""
    made = []
    for slug, title in zip(SLUGS, TITLES, strict=True):
        page = tenant.rest.post(f"{tenant.path}/pages", {"slug": slug, "title": title}).json()
        if int(slug[-1]) % 3 == 0:
            page = tenant.rest.post(f"{tenant.path}/pages/{page['id']}/publish").json()
        made.append(page)
    return made


def matches(row: Row, parsed: Filter) -> bool:
    """What a filter means, by AIP-160 and plain Python: what is unset matches `!=` alone, and NOT is what is left."""
    return _truth(row, parsed, parsed.shape)


def _truth(row: Row, parsed: Filter, node: Node | None) -> bool:
    if node is None:
        return True
    if isinstance(node, Comparison):
        return _compare(row, node, parsed.values[node.place])
    truths = [_truth(row, parsed, part) for part in node.parts]
    if node.operator == "not":
        return not truths[0]
    return any(truths) if node.operator == "or" else all(truths)


def _compare(row: Row, node: Comparison, value: Any) -> bool:
    have: Any = row.get(_json_name(node.field))
    want: Any = value.text
    if node.operator == ":":
        return bool(have) if want == "*" and not value.quoted else want.lower() in have.lower()
    if node.field == "status":
        want = f"STATUS_{want}"
    if node.field.endswith("time"):
        have, want = _moment(have), _moment(want)
    if value.quoted and node.field == "title" and "*" in (want[:1], want[-1:]):
        return _like(have, want) == (node.operator == "=")
    if have is None:
        return node.operator == "!="
    found = {
        "=": have == want,
        "!=": have != want,
        "<": have < want,
        "<=": have <= want,
        ">": have > want,
        ">=": have >= want,
    }
    return bool(found[node.operator])


def _json_name(field: str) -> str:
    head, *rest = field.split("_")
    return head + "".join(part.title() for part in rest)


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _like(have: str, want: str) -> bool:
    inner = want.removeprefix("*").removesuffix("*") if want != "*" else ""
    if want.startswith("*") and want.endswith("*"):
        return inner in have
    return have.endswith(inner) if want.startswith("*") else have.startswith(inner)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


BASE = datetime.now(UTC)
texts = st.sampled_from([*TITLES, "Home*", "*page", "*o*", "50%*", "*_*", "*\\*", "*", "Straße*"]).map(quoted)
terms = st.one_of(
    st.tuples(st.just("title"), st.sampled_from(["=", "!="]), texts),
    st.tuples(st.just("title"), st.just(":"), st.sampled_from(["ho", "%", "_", "\\", "straß", '"']).map(quoted)),
    st.tuples(st.just("slug"), st.sampled_from(["=", "!=", "<", ">=", ">", "<="]), st.sampled_from(SLUGS)),
    st.tuples(st.just("status"), st.sampled_from(["=", "!="]), st.sampled_from(["DRAFT", "PUBLISHED"])),
    st.tuples(st.sampled_from(["publish_time", "title"]), st.just(":"), st.just("*")),
    st.tuples(
        st.sampled_from(["create_time", "publish_time"]),
        st.sampled_from(["<", ">", "!="]),
        st.sampled_from([-3600, 3600]).map(lambda s: (BASE + timedelta(seconds=s)).isoformat().replace("+00:00", "Z")),
    ),
).map("".join)
filters = st.recursive(
    terms,
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"({' AND '.join(parts)})"),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"({' OR '.join(parts)})"),
        st.lists(inner, min_size=2, max_size=3).map(" ".join).map(lambda text: f"({text})"),
        inner.map(lambda text: f"NOT ({text})"),
    ),
    max_leaves=6,
)


@settings(max_examples=40, deadline=None)
@given(text=filters)
def test_sql_finds_what_the_filter_means(tenant: Tenant, stored: list[Row], text: str) -> None:
    answer = tenant.rest.get(f"{tenant.path}/pages", {"filter": text, "pageSize": 50})
    assert answer.status_code == 200, (text, answer.text)
    expected = {row["slug"] for row in stored if matches(row, parse_filter(text))}
    assert {row["slug"] for row in answer.json()["pages"]} == expected, text


@pytest.mark.parametrize(("kind", "bits"), [(SmallInteger, 16), (Integer, 32), (BigInteger, 64)])
def test_a_number_is_one_that_its_column_can_hold(kind: type[TypeEngine[Any]], bits: int) -> None:
    """PostgreSQL would refuse any other in the middle of the query."""
    fields: Any = ListPagesRequest.DESCRIPTOR.fields_by_name
    plan = FilterPlan(fields, Table("scratch", MetaData(), Column("skip", kind)), ("skip",))
    largest = 2 ** (bits - 1) - 1
    for number in (largest, -largest - 1):
        assert plan.bind(parse_filter(f"skip={number}")).parameters == {"filter_0": number}
    for number in (largest + 1, -largest - 2):
        with pytest.raises(Malformed, match=f"at most {bits} bits"):
            plan.bind(parse_filter(f"skip={number}"))
