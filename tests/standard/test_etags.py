"""ETags (AIP-154, RFC 9110): what was not seen is not overwritten, and what is known is not sent again."""

import pytest

from server.kernel.policy import Kind
from tests.clients import problem
from tests.standard.doors import Door, GrpcDoor, RestDoor, refusal, snake
from tests.standard.resources import NOBODY

needs = pytest.mark.needs
pytestmark = needs("text")
STALE = 'W/"00000000-1"'


def test_an_etag_is_weak_and_the_same_in_header_and_field(rest: RestDoor) -> None:
    made = rest.create()
    response = rest.tenant.rest.get(f"{rest.path}/{made['id']}")
    assert response.headers["etag"] == response.json()["etag"] == made["etag"]
    assert made["etag"].startswith('W/"')
    assert made["etag"].endswith('"')


@needs("undelete", "alone")
def test_an_etag_changes_with_every_change_and_with_nothing_else(door: Door) -> None:
    made = door.create()
    seen = [made["etag"]]
    assert door.get(made["id"])["etag"] == door.listing().items[0]["etag"] == made["etag"]
    seen.append(door.update(made["id"], {door.kind.text: "One"})["etag"])
    assert door.update(made["id"], {door.kind.text: "One"})["etag"] == seen[-1]
    seen.append(door.update(made["id"], {door.kind.text: "Two"})["etag"])
    door.delete(made["id"])
    seen.append(door.listing(show_deleted=True).items[0]["etag"])
    seen.append(door.undelete(made["id"])["etag"])
    assert door.get(made["id"])["etag"] == seen[-1]
    assert len(set(seen)) == 5


def test_two_resources_have_two_etags(door: Door) -> None:
    assert door.create()["etag"] != door.create()["etag"]


def test_a_stale_if_match_is_refused_with_the_etag_as_it_is(rest: RestDoor) -> None:
    made = rest.create()
    now = rest.update(made["id"], {rest.kind.text: "Theirs"})
    for stale in (made["etag"], STALE, '"x"', "nonsense"):
        with refusal("ETAG_MISMATCH") as refused:
            rest.update(made["id"], {rest.kind.text: "Mine"}, headers={"if-match": stale})
        assert refused.problem.metadata["etag"] == now["etag"]
        with refusal("ETAG_MISMATCH"):
            rest.delete(made["id"], etag=stale)
    assert rest.get(made["id"]) == now


@pytest.mark.parametrize("form", ["{0}", "*", '"a", {0}', "{0} , {1}", "{2}"])
def test_a_fresh_if_match_is_let_through(rest: RestDoor, form: str) -> None:
    made = rest.create()
    strong = made["etag"].removeprefix("W/")
    header = form.format(made["etag"], STALE, strong)
    assert rest.update(made["id"], {rest.kind.text: "Mine"}, headers={"if-match": header})[rest.kind.text] == "Mine"


def test_if_match_of_what_is_absent_is_not_found(rest: RestDoor) -> None:
    with refusal("RESOURCE_NOT_FOUND"):
        rest.update(NOBODY, {rest.kind.text: "x"}, headers={"if-match": "*"})


def test_the_etag_of_the_body_counts_too(door: Door) -> None:
    made = door.create()
    now = door.update(made["id"], {door.kind.text: "One", "etag": made["etag"]})
    assert now["etag"] != made["etag"]
    with refusal("ETAG_MISMATCH") as refused:
        door.update(made["id"], {door.kind.text: "Two", "etag": made["etag"]})
    assert refused.problem.metadata["etag"] == now["etag"]
    assert door.get(made["id"]) == now
    # What a GET answered can be sent back as it is.
    assert door.update(made["id"], now | {door.kind.text: "Three"})[door.kind.text] == "Three"


def test_a_delete_takes_an_etag(door: Door) -> None:
    made = door.create()
    now = door.update(made["id"], {door.kind.text: "One"})
    with refusal("ETAG_MISMATCH"):
        door.delete(made["id"], etag=made["etag"])
    door.delete(made["id"], etag=now["etag"])
    with refusal("RESOURCE_NOT_FOUND"):
        door.get(made["id"])


@needs("undelete")
def test_an_undelete_heeds_if_match(rest: RestDoor) -> None:
    made = rest.create()
    rest.delete(made["id"])
    response = rest.tenant.rest.post(f"{rest.path}/{made['id']}/undelete", headers={"if-match": made["etag"]})
    assert (response.status_code, problem(response).reason) == (412, "ETAG_MISMATCH")


def test_of_two_writers_with_one_etag_one_wins(rpc: GrpcDoor) -> None:
    made = rpc.create()
    kind = rpc.kind

    def write(text: str) -> object:
        message = kind.message(**{snake(kind.text): text, "etag": made["etag"]})
        mask = {"paths": [snake(kind.text)]}
        fields = {f"{kind.singular}_id": made["id"], kind.singular: message, "update_mask": mask}
        return getattr(rpc.stub, f"Update{kind.name}").future(kind.request(Kind.UPDATE, **rpc.fields(**fields)))

    writes = [write(f"Writer {number}") for number in range(8)]
    codes = [write.code().name for write in writes]  # type: ignore[attr-defined]
    assert sorted(codes) == ["ABORTED"] * 7 + ["OK"]
    assert rpc.get(made["id"])[kind.text] == f"Writer {codes.index('OK')}"


@pytest.mark.parametrize("form", ["{0}", "*", '"a", {0}', "{1}"])
def test_what_the_caller_has_is_not_sent_again(rest: RestDoor, form: str) -> None:
    made = rest.create()
    header = form.format(made["etag"], made["etag"].removeprefix("W/"))
    path = f"{rest.path}/{made['id']}"
    for response in (
        rest.tenant.rest.get(path, headers={"if-none-match": header}),
        rest.tenant.rest.head(path, headers={"if-none-match": header}),
    ):
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["etag"] == made["etag"]


def test_what_the_caller_has_not_is_sent(rest: RestDoor) -> None:
    made = rest.create()
    now = rest.update(made["id"], {rest.kind.text: "Changed"})
    response = rest.tenant.rest.get(f"{rest.path}/{made['id']}", headers={"if-none-match": made["etag"]})
    assert (response.status_code, response.json()) == (200, now)


def test_a_write_heeds_no_if_none_match(rest: RestDoor) -> None:
    made = rest.create()
    after = rest.update(made["id"], {rest.kind.text: "Changed"}, headers={"if-none-match": "*"})
    assert after[rest.kind.text] == "Changed"
