"""Text that means the same is the same text, in whichever form it was sent. Through both doors."""

from unicodedata import normalize

import pytest

from tests.clients import new_tenant, rows
from tests.stack import Stack
from tests.standard.doors import Door, refusal

needs = pytest.mark.needs
pytestmark = needs("text")
COMPOSED = "Caf\u00e9 \u1e69 \uac00\ub098 \u00c5ngstr\u00f6m"
DECOMPOSED = normalize("NFD", COMPOSED)
FORMS = (COMPOSED, DECOMPOSED)


@needs("other", "no_secret")
def test_text_is_stored_and_shown_composed(door: Door) -> None:
    kind = door.kind
    made = [door.create(**{kind.text: form, kind.other: form}) for form in FORMS]
    assert {(one[kind.text], one[kind.other]) for one in made} == {(COMPOSED, COMPOSED)}
    assert [door.get(one["id"]) for one in made] == made


@needs("sorted_text")
@pytest.mark.parametrize("form", FORMS, ids=["composed", "decomposed"])
def test_a_filter_finds_text_in_any_form(door: Door, form: str) -> None:
    kind = door.kind
    ids = {door.create(**{kind.text: one})["id"] for one in FORMS}
    door.create(**{kind.text: "Cafe s Angstrom"})
    for text in (f'"{form}"', f'"{form[:-1]}*"', f'"*{form[1:]}"'):
        assert {*door.listing(filter=f"{kind.text} = {text}").ids} == ids, text
    assert {*door.listing(filter=f'{kind.text}:"{form[1:-1]}"').ids} == ids
    assert len(door.listing(filter=f'{kind.text} != "{form}"').ids) == 1


@needs("no_secret")
def test_another_form_of_the_same_text_changes_nothing(door: Door) -> None:
    before = door.create(**{door.kind.text: COMPOSED})
    assert door.update(before["id"], {door.kind.text: DECOMPOSED}) == before


@needs("sorted_text")
def test_lengths_count_the_form_that_is_stored(door: Door) -> None:
    kind = door.kind
    longest = kind.longest(kind.text)
    # So many characters that are twice as many code points; and so many code points that compose to twice as many.
    assert door.create(**{kind.text: "e\u0301" * longest})[kind.text] == "\u00e9" * longest
    for text in ("e\u0301" * (longest + 1), "\u0958" * longest, kind.too_long(kind.text)):
        with refusal("RULE_VIOLATED") as refused:
            door.create(**{kind.text: text})
        assert set(refused.problem.violations) == {door.named(f"{kind.singular}.{kind.text}")}


@needs("sorted_text")
def test_marks_beyond_what_any_language_stacks_stay_as_they_are(door: Door) -> None:
    kind = door.kind
    text = "a" + "\u0301\u0316" * 140
    made = door.create(**{kind.text: text})
    assert made[kind.text] == text
    assert door.listing(filter=f'{kind.text} = "{text}"').ids == [made["id"]]


@needs("free_form")
def test_free_form_json_keeps_its_form(door: Door) -> None:
    value = {DECOMPOSED: [DECOMPOSED, {"a": DECOMPOSED}]}
    assert door.create(**{door.kind.free_form: value})[door.kind.free_form] == value


def test_names_of_other_resources_are_found_in_any_form(stack: Stack) -> None:
    tenant = new_tenant(stack, name=DECOMPOSED)
    body = {"name": DECOMPOSED, "permissions": ["sites.pages.read"]}
    assert tenant.rest.post(f"{tenant.path}/api-keys", body).status_code == 201
    for form in FORMS:
        asked = {"filter": f'name = "{form}"'}
        assert [one["id"] for one in tenant.rest.get("tenants", asked).json()["tenants"]] == [tenant.id]
        assert len(tenant.rest.get(f"{tenant.path}/api-keys", asked).json()["apiKeys"]) == 1


def test_the_address_of_a_webhook_is_kept_as_it_was_sent(stack: Stack) -> None:
    """Composed, it would lead elsewhere."""
    tenant = new_tenant(stack)
    body = {"url": f"https://example.com/{DECOMPOSED.replace(' ', '-')}", "eventTypes": ["page.*"]}
    made = tenant.rest.post(f"{tenant.path}/webhooks", body)
    assert (made.status_code, made.json()["url"]) == (201, body["url"])
    assert rows(stack, "SELECT url FROM webhooks WHERE id = %s", made.json()["id"]) == [{"url": body["url"]}]
