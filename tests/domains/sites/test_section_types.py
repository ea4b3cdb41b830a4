"""Types of sections: what content their schemas allow, and how rich text is cleaned."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domains.sites.built_in_sections import BUILT_IN
from server.domains.sites.content_schemas import ContentSchema, schema_faults
from server.kernel.rich_text import ATTRIBUTES, SCHEMES, TAGS, clean_html
from tests.clients import Tenant, new_tenant, problem, reason, unique
from tests.stack import Stack

VECTORS = (Path(__file__).parent / "xss_vectors.txt").read_text().splitlines()


@pytest.fixture
def site(stack: Stack) -> Tenant:
    return new_tenant(stack)


@pytest.fixture
def sections(site: Tenant) -> str:
    """The path of the sections of a page."""
    page = site.rest.post(f"{site.path}/pages", {"slug": unique("page")}).json()
    return f"{site.path}/pages/{page['id']}/sections"


def add(site: Tenant, sections: str, kind: str, content: dict[str, Any]) -> Any:
    return site.rest.post(sections, {"kind": kind, "content": content})


def define(site: Tenant, kind: str, schema: dict[str, Any] | None) -> dict[str, Any]:
    answer = site.rest.post(f"{site.path}/section-types", {"kind": kind, "schema": schema})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


# Types ---------------------------------------------------------------------------------------------------------------


def test_every_site_has_the_built_in_types(site: Tenant, sections: str) -> None:
    types = site.rest.get("/api/v1/section-types").json()["sectionTypes"]
    assert [each["kind"] for each in types] == list(BUILT_IN)
    assert all(each["schema"] == BUILT_IN[each["kind"]].schema and each["description"] for each in types)
    for each in types:
        assert schema_faults(each["schema"]) == []
        assert add(site, sections, each["kind"], {}).status_code == 201


def test_a_kind_without_a_type_is_refused(site: Tenant, sections: str) -> None:
    refused = add(site, sections, "heroo", {})
    assert (refused.status_code, problem(refused).rules) == (422, ("section.kind",))
    assert set(problem(refused).violations) == {"kind"}
    kept = add(site, sections, "hero", {}).json()
    moved = site.rest.patch(f"{sections}/{kept['id']}", {"kind": "heroo"})
    assert problem(moved).rules == ("section.kind",)


def test_content_follows_the_schema_of_its_kind(site: Tenant, sections: str) -> None:
    wrong = {
        "heading": 7,
        "items": [{"title": "Oil", "url": "javascript:alert(1)"}, {"title": "x" * 2001}],
    }
    refused = add(site, sections, "features", wrong)
    assert refused.status_code == 422
    assert set(problem(refused).violations) == {"content.heading", "content.items[0].url", "content.items[1].title"}
    assert set(problem(refused).rules) == {"schema.type", "schema.format", "schema.maxLength"}
    batch = {"requests": [{"section": {"kind": "hero"}}, {"section": {"kind": "features", "content": wrong}}]}
    refused = site.rest.post(f"{sections}:batchCreate", batch)
    assert "requests[1].section.content.heading" in problem(refused).violations
    assert site.rest.get(sections).json()["sections"] == []


def test_a_type_of_the_site_takes_the_place_of_a_built_in_one(stack: Stack, site: Tenant, sections: str) -> None:
    schema = {
        "type": "object",
        "properties": {"dish": {"type": "string", "enum": ["soup", "salad"]}, "price": {"type": "integer"}},
        "required": ["dish"],
        "additionalProperties": False,
    }
    menu = define(site, "menu", schema)
    assert add(site, sections, "menu", {"dish": "soup", "price": 7}).status_code == 201
    refused = add(site, sections, "menu", {"price": 7.5, "more": 1})
    assert set(problem(refused).rules) == {"schema.required", "schema.type", "schema.additionalProperties"}
    wider = schema | {"additionalProperties": True}
    path = f"{site.path}/section-types/{menu['id']}"
    assert site.rest.patch(path, {"schema": wider}).status_code == 200
    assert add(site, sections, "menu", {"dish": "soup", "more": 1}).status_code == 201
    define(site, "hero", {"type": "object", "maxProperties": 0})
    assert problem(add(site, sections, "hero", {"heading": "x"})).rules == ("schema.maxProperties",)
    define(site, "anything", None)
    assert add(site, sections, "anything", {"html": "<script>1</script>"}).json()["content"] == {
        "html": "<script>1</script>"
    }
    assert reason(site.rest.post(f"{site.path}/section-types", {"kind": "menu"})) == (409, "RESOURCE_TAKEN")
    # Those of others count for nothing here.
    other = new_tenant(stack)
    page = other.rest.post(f"{other.path}/pages", {"slug": "page"}).json()
    theirs = add(other, f"{other.path}/pages/{page['id']}/sections", "menu", {})
    assert problem(theirs).rules == ("section.kind",)


def test_sections_stay_when_their_type_goes(site: Tenant, sections: str) -> None:
    menu = define(site, "menu", {"type": "object"})
    section = add(site, sections, "menu", {"dish": "soup"}).json()
    assert site.rest.delete(f"{site.path}/section-types/{menu['id']}").status_code == 204
    path = f"{sections}/{section['id']}"
    assert site.rest.patch(path, {"title": "Menu"}).status_code == 200
    assert problem(site.rest.patch(path, {"content": {"dish": "salad"}})).rules == ("section.kind",)


@pytest.mark.parametrize(
    ("schema", "rule"),
    [
        ({}, "schema.type"),
        ({"type": "string"}, "schema.type"),
        ({"type": "object", "properties": {"a": {"$ref": "https://evil.example/x"}}}, "schema.additionalProperties"),
        ({"type": "object", "properties": {"a": {"pattern": "(a+)+$"}}}, "schema.additionalProperties"),
        ({"type": "object", "properties": {"a": {"type": "text"}}}, "schema.enum"),
        ({"type": "object", "properties": {"a": {"format": "regex"}}}, "schema.enum"),
        ({"type": "object", "properties": {"a": {"maxLength": -1}}}, "schema.minimum"),
        ({"type": "object", "properties": {"a": {"contentMediaType": "text/plain"}}}, "schema.const"),
        ({"type": "object", "properties": {f"p{number}": {} for number in range(500)}}, "schema.size"),
    ],
)
def test_other_schemas_are_refused(site: Tenant, schema: dict[str, Any], rule: str) -> None:
    refused = site.rest.post(f"{site.path}/section-types", {"kind": "x", "schema": schema})
    assert refused.status_code == 422
    assert problem(refused).rules == (rule,)
    assert all(path.startswith("schema") for path in problem(refused).violations)


def test_a_schema_has_eight_levels() -> None:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(7):
        schema = {"type": "object", "properties": {"a": {"type": "array", "items": schema}}}
    assert [fault.keyword for fault in schema_faults(schema)] == ["size"]


def test_faults_are_told_up_to_twenty_and_without_all_of_a_long_value() -> None:
    schema = ContentSchema({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "integer"}}}})
    faults = schema.faults({"a": ["x" * 5000] * 30})
    assert len(faults) == 20
    assert all(len(fault.description) < 250 for fault in faults)


@pytest.mark.parametrize("color", ["#fff", "#ffff", "#0a0B0c", "#0a0b0c0d", ""])
def test_a_color_is_written_in_hexadecimal(color: str) -> None:
    schema = ContentSchema({"type": "object", "properties": {"c": {"type": "string", "format": "color"}}})
    assert schema.faults({"c": color}) == []
    assert [fault.keyword for fault in schema.faults({"c": f"{color}x"})] == ["format"]


# Rich text -----------------------------------------------------------------------------------------------------------


class Found(HTMLParser):
    """The elements and attributes in a text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(decl)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_pi(self, data: str) -> None:
        raise AssertionError(data)

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(data)


def assert_harmless(html: str) -> None:
    for tag, attributes in Found(html).elements:
        assert tag in TAGS
        assert attributes.keys() <= ATTRIBUTES.get(tag, set()) | {"rel", "lang", "title"}
        for name in ("href", "src", "cite"):
            # A browser takes no other beginning for a scheme (URL standard, 4.4).
            address = re.sub(r"[\t\n\r]", "", attributes.get(name) or "").lstrip("".join(map(chr, range(33))))
            scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):", address)
            assert scheme is None or scheme[1].lower() in SCHEMES


def test_what_runs_is_removed_from_rich_text(site: Tenant, sections: str) -> None:
    items = [{"question": vector, "answer": vector} for vector in VECTORS]
    for first in range(0, len(items), 50):
        asked = items[first : first + 50]
        stored = add(site, sections, "questions", {"items": asked}).json()
        for before, after in zip(asked, stored["content"]["items"], strict=True):
            # Plain text is stored unchanged. The renderer escapes it.
            assert after["question"] == before["question"]
            assert_harmless(after["answer"])
        # What is clean is not changed again.
        same = site.rest.patch(f"{sections}/{stored['id']}", {"content": stored["content"]})
        assert same.json()["etag"] == stored["etag"]


def test_text_stays_text() -> None:
    html = (
        "<h2>Oil &amp; tyres</h2><p>From <strong>49 €</strong>, <em>while you wait</em><br>"
        '<a href="/prices" rel="noopener noreferrer">Prices</a> <img src="https://example.com/a.png" alt="A car"></p>'
        "<ul><li>One</li></ul><table><thead><tr><th>Day</th></tr></thead><tbody><tr><td>Monday</td></tr></tbody></table>"
    )
    assert clean_html(html) == html


@given(st.lists(st.sampled_from([*VECTORS, "<p>", "</p>", "<b>", "x", "&lt;", "<!--", "-->", '"', "<svg>", "<math>"])))
def test_no_mixture_becomes_harmful(parts: list[str]) -> None:
    once = clean_html("".join(parts))
    assert_harmless(once)
    assert clean_html(once) == once
