"""Update (AIP-134, RFC 7396): what is named is set, what is absent stays, null clears. PATCH, PUT and UpdateX alike."""

from typing import Any

import pytest
from google.api import http_pb2

from server.kernel.messages.masks import body_mask
from server.kernel.problems import Malformed
from tests.clients import problem
from tests.standard.doors import Door, GrpcDoor, Resource, RestDoor, refusal, snake

needs = pytest.mark.needs
pytestmark = needs("text")


EVERY_WRITE = ("etag", "updateTime", "revisionNumber", "wordCount")


def without(resource: Resource, *names: str) -> Resource:
    """A resource without what every write changes, and without these."""
    return {name: value for name, value in resource.items() if name not in {*EVERY_WRITE, *names}}


@pytest.fixture(params=["patch", "put"])
def put_or_patch(request: pytest.FixtureRequest) -> str:
    """The two verbs of Update."""
    verb: str = request.param
    return verb


@needs("no_secret")
def test_what_is_named_is_set_and_what_is_absent_stays(door: Door) -> None:
    before = door.create()
    after = door.update(before["id"], {door.kind.text: "Changed"})
    assert after[door.kind.text] == "Changed"
    assert without(after, door.kind.text) == without(before, door.kind.text)
    assert after["updateTime"] > before["updateTime"]
    assert door.get(before["id"]) == after


@needs("free_form")
def test_null_clears(door: Door) -> None:
    kind = door.kind
    before = door.create()
    after = door.update(before["id"], {kind.text: None, kind.free_form: None})
    assert after[kind.text] == ""
    assert kind.free_form not in after
    assert without(after, kind.text, kind.free_form) == without(before, kind.text, kind.free_form)


def test_the_zero_value_is_a_value(door: Door) -> None:
    before = door.create()
    assert door.update(before["id"], {door.kind.text: ""})[door.kind.text] == ""


@needs("other")
def test_both_verbs_mean_the_same(rest: RestDoor, put_or_patch: str) -> None:
    kind = rest.kind
    before = rest.create()
    send = getattr(rest.tenant.rest, put_or_patch)
    after = send(f"{rest.path}/{before['id']}", {kind.text: "New", kind.other: None})
    assert after.status_code == 200
    assert after.json()[kind.text] == "New"
    assert after.json()[kind.other] == ""
    assert without(after.json(), kind.text, kind.other) == without(before, kind.text, kind.other)
    assert after.headers["etag"] == after.json()["etag"]


@needs("key", "free_form", "move")
def test_what_changes_nothing_writes_nothing(door: Door) -> None:
    kind = door.kind
    before = door.create()
    same = {kind.key: before[kind.key], kind.text: before[kind.text], kind.free_form: before[kind.free_form]}
    for changes in ({}, same, {kind.unset_time: None}, before):
        assert door.update(before["id"], changes) == before
    assert door.get(before["id"]) == before


@needs("free_form")
def test_free_form_json_is_replaced_whole(door: Door) -> None:
    before = door.create()
    value = {"layout": {"only": "this"}}
    assert door.update(before["id"], {door.kind.free_form: value})[door.kind.free_form] == value


@needs("free_form", "alone")
def test_free_form_json_is_kept_as_it_is(door: Door) -> None:
    value = {"text": "ü\u2028😀", "null": None, "list": [[], {}, [None, True, -1.5e300]], "": {"a.b": {"$set": 1}}}
    before = door.create(**{door.kind.free_form: value})
    assert before[door.kind.free_form] == value
    assert door.get(before["id"])[door.kind.free_form] == value
    assert door.listing().items[0][door.kind.free_form] == value


@needs("free_form")
def test_an_empty_object_is_a_value(door: Door) -> None:
    before = door.create()
    assert door.update(before["id"], {door.kind.free_form: {}}).get(door.kind.free_form) == {}
    assert door.get(before["id"]).get(door.kind.free_form) == {}


@needs("free_form")
def test_free_form_json_with_a_nul_is_refused(door: Door) -> None:
    before = door.create()
    with refusal("RULE_VIOLATED"):
        door.update(before["id"], {door.kind.free_form: {"a": "x\0y"}})
    assert door.get(before["id"]) == before


@needs("no_secret")
def test_text_with_a_nul_is_refused(door: Door) -> None:
    before = door.create()
    with refusal("RULE_VIOLATED"):
        door.update(before["id"], {door.kind.text: "x\0y"})
    assert door.get(before["id"]) == before


@needs("key")
@pytest.mark.parametrize("body", ["{bad", "", "[]", '"text"', '{"title": "x"} {}'])
def test_malformed_json_names_the_request(rest: RestDoor, body: str) -> None:
    headers = {"content-type": "application/json"}
    response = rest.tenant.rest.post(rest.path, content=body.encode(), headers=headers)
    why = problem(response)
    assert response.status_code == (422 if body == "" else 400)
    assert why.domain == "plinth"
    assert why.request_id == response.headers["x-request-id"]


@needs("alone", "no_secret")
def test_output_only_fields_cannot_be_changed(door: Door) -> None:
    kind = door.kind
    before = door.create()
    for name, value in kind.output_only.items():
        with refusal("RULE_VIOLATED") as refused:
            door.update(before["id"], {name: value, kind.text: "Changed"})
        assert set(refused.problem.violations) == {door.named(f"{kind.singular}.{snake(name)}")}
        with refusal("RULE_VIOLATED") as refused:
            door.create(**{name: value})
        assert set(refused.problem.violations) == {door.named(f"{kind.singular}.{snake(name)}")}
    assert door.listing().items == [before]


@needs("move")
def test_a_resource_that_was_read_can_be_sent_back_with_a_change(door: Door) -> None:
    before = door.create()
    door.kind.move(door.tenant, before["id"])
    read = door.get(before["id"])
    after = door.update(before["id"], read | {door.kind.text: "Changed"})
    assert without(after, door.kind.text) == without(read, door.kind.text)
    assert after[door.kind.text] == "Changed"


@needs("required", "no_secret")
def test_a_required_field_cannot_be_cleared(door: Door) -> None:
    before, name = door.create(), door.kind.required[0]
    for value in (None, ""):
        with refusal("RULE_VIOLATED") as refused:
            door.update(before["id"], {name: value})
        assert set(refused.problem.violations) == {door.named(f"{door.kind.singular}.{name}")}
    assert door.get(before["id"]) == before


@needs("key")
def test_a_value_that_is_taken_is_refused(door: Door) -> None:
    first, second = door.create(), door.create()
    with refusal("RESOURCE_TAKEN") as refused:
        door.update(second["id"], {door.kind.key: first[door.kind.key], door.kind.text: "Changed"})
    assert refused.problem.metadata["field"] == door.kind.key
    assert door.get(second["id"]) == second
    # To itself it is not taken.
    assert door.update(first["id"], {door.kind.key: first[door.kind.key]})[door.kind.key] == first[door.kind.key]


@needs("key")
def test_a_broken_rule_names_the_field_and_changes_nothing(door: Door) -> None:
    before = door.create()
    with refusal("RULE_VIOLATED") as refused:
        door.update(before["id"], {name: door.kind.too_long(name) for name in (door.kind.text, door.kind.key)})
    names = (door.kind.text, door.kind.key)
    assert set(refused.problem.violations) == {door.named(f"{door.kind.singular}.{name}") for name in names}
    assert door.get(before["id"]) == before


def test_what_is_deleted_cannot_be_updated(door: Door) -> None:
    before = door.create()
    door.delete(before["id"])
    with refusal("RESOURCE_NOT_FOUND"):
        door.update(before["id"], {door.kind.text: "Changed"})


# REST: keys of the body --------------------------------------------------------------------------------------------


@needs("key", "alone")
@pytest.mark.parametrize("verb", ["patch", "put", "post"])
def test_an_unknown_key_is_refused_with_the_nearest_name(rest: RestDoor, verb: str) -> None:
    before = rest.create()
    path = rest.path if verb == "post" else f"{rest.path}/{before['id']}"
    misspelt = rest.kind.text[:-2] + rest.kind.text[-1] + rest.kind.text[-2]
    response = getattr(rest.tenant.rest, verb)(path, {rest.kind.key: "fine", misspelt: "x"})
    assert response.status_code == 400
    why = problem(response)
    assert (why.reason, why.metadata) == ("UNKNOWN_FIELD", {"field": misspelt, "nearest": rest.kind.text})
    assert set(why.violations) == {misspelt}
    assert why.request_id == response.headers["x-request-id"]
    assert rest.listing().items == [before]


def test_an_unknown_key_that_is_like_nothing_has_no_nearest_name(rest: RestDoor) -> None:
    before = rest.create()
    with refusal("UNKNOWN_FIELD") as refused:
        rest.update(before["id"], {"zzzzzz": None})
    assert refused.problem.metadata == {"field": "zzzzzz"}


@needs("free_form")
def test_free_form_json_has_no_unknown_keys(rest: RestDoor) -> None:
    before = rest.create()
    value = {"titel": {"slug": [{"whatever": 1}]}}
    assert rest.update(before["id"], {rest.kind.free_form: value})[rest.kind.free_form] == value


@needs("no_secret")
def test_keys_may_be_written_as_in_the_proto(rest: RestDoor) -> None:
    before = rest.create()
    same = {"update_time": before["updateTime"], "create_time": before["createTime"]}
    after = rest.update(before["id"], same | {rest.kind.text: "Changed"})
    assert without(after, rest.kind.text) == without(before, rest.kind.text)


# No resource of today has messages in messages, so these two ask the mask itself, about messages that have.


def http_rules() -> Any:
    """google.api.Http: `rules` is repeated, a rule has `custom` and, in an array again, `additional_bindings`."""
    return http_pb2.Http.DESCRIPTOR


def test_keys_of_nested_messages_become_nested_paths_up_to_an_array() -> None:
    rule = http_rules().fields_by_name["rules"].message_type
    assert body_mask(rule, "*", "custom,custom.kind,body") == ("body", "custom.kind")
    assert body_mask(rule, "*", "additionalBindings[],additionalBindings[].custom.path") == ("additional_bindings",)


@pytest.mark.parametrize(
    ("keys", "field", "nearest"),
    [
        ("rules[],rules[].custom,rules[].custom.knid", "rules[].custom.knid", "rules[].custom.kind"),
        ("rules[].additionalBinding[]", "rules[].additionalBinding[]", None),
        ("fullyDecodeReservedExpansions", "fullyDecodeReservedExpansions", "fullyDecodeReservedExpansion"),
    ],
)
def test_an_unknown_key_inside_messages_and_arrays_is_named_with_its_path(
    keys: str, field: str, nearest: str | None
) -> None:
    with pytest.raises(Malformed) as caught:
        body_mask(http_rules(), "*", keys)
    assert caught.value.metadata["field"] == field
    if nearest:
        assert caught.value.metadata["nearest"] == nearest


# gRPC: masks -------------------------------------------------------------------------------------------------------


@needs("key", "other", "free_form")
def test_a_star_sets_everything(rpc: GrpcDoor) -> None:
    kind = rpc.kind
    before = rpc.create()
    after = rpc.update(before["id"], {kind.key: before[kind.key], kind.text: "Only this"}, update_mask={"paths": ["*"]})
    assert (after[kind.text], after[kind.other], kind.free_form in after) == ("Only this", "", False)
    cleared = (kind.text, kind.other, kind.free_form)
    assert without(after, *cleared) == without(before, *cleared)


@needs("required")
def test_a_star_does_not_clear_what_is_required(rpc: GrpcDoor) -> None:
    before = rpc.create()
    with refusal("RULE_VIOLATED") as refused:
        rpc.update(before["id"], {rpc.kind.text: "x"}, update_mask={"paths": ["*"]})
    missed = {f"{rpc.kind.singular}.{snake(name)}" for name in rpc.kind.required}
    assert missed <= set(refused.problem.violations)


@needs("other")
def test_without_a_mask_the_fields_that_are_set_are_meant(rpc: GrpcDoor) -> None:
    kind = rpc.kind
    before = rpc.create()
    after = rpc.update(before["id"], {kind.text: "", kind.other: "Changed"}, update_mask=None)
    assert (after[kind.text], after[kind.other]) == (before[kind.text], "Changed")


@needs("other")
def test_what_is_set_but_not_in_the_mask_stays(rpc: GrpcDoor) -> None:
    kind = rpc.kind
    before = rpc.create()
    after = rpc.update(before["id"], {kind.text: "No", kind.other: "Yes"}, update_mask={"paths": [snake(kind.other)]})
    assert (after[kind.text], after[kind.other]) == (before[kind.text], "Yes")


@needs("free_form", "no_secret")
@pytest.mark.parametrize("path", ["nope", "{0}.deep", "{0}.", "", "{1}.layout", "create_time.nope"])
def test_a_path_that_leads_nowhere_is_refused(rpc: GrpcDoor, path: str) -> None:
    kind = rpc.kind
    before = rpc.create()
    paths = [snake(kind.text), path.format(snake(kind.text), snake(kind.free_form))]
    with refusal("RULE_VIOLATED") as refused:
        rpc.update(before["id"], {kind.text: "x"}, update_mask={"paths": paths})
    assert set(refused.problem.violations) == {"update_mask"}
    assert rpc.get(before["id"]) == before


def test_a_star_beside_other_paths_is_refused(rpc: GrpcDoor) -> None:
    before = rpc.create()
    with refusal("RULE_VIOLATED"):
        rpc.update(before["id"], {rpc.kind.text: "x"}, update_mask={"paths": ["*", snake(rpc.kind.text)]})
