"""What belongs to one user of a tenant. Whom it is kept from is tried by tests/contract/test_owner_wall.py."""

import pytest

from tests.clients import Account, Session, Tenant, new_member, unique
from tests.standard.doors import Door, camel, refusal
from tests.standard.resources import Described

needs = pytest.mark.needs
pytestmark = needs("owner")


@pytest.fixture
def member(tenant: Tenant, kind: Described) -> tuple[Account, Session]:
    """Somebody who may do everything with the resource that is their own."""
    domain = kind.methods[f"Get{kind.name}"].domain
    known = tenant.rest.get("rbac/permissions").json()["permissions"]
    held = [one["name"] for one in known if one["name"].startswith(f"{domain}.")]
    role = unique("role")
    body = {"name": role, "permissions": [name for name in held if name != kind.resource.seen_by]}
    assert tenant.rest.post("rbac/roles", body).status_code == 201
    return new_member(tenant, role)


@needs("!shown")
def test_it_belongs_to_who_made_it_and_is_listed_for_them(door: Door, member: tuple[Account, Session]) -> None:
    account, session = member
    owner = door.kind.resource.owner
    theirs = door.for_(session)
    made = theirs.create()
    assert made[camel(owner)] == account.id
    assert theirs.listing().ids == [made["id"]]
    # The owner of the tenant sees it, and it is not among the owner's own.
    assert door.get(made["id"]) == made
    assert door.listing().items == []
    for whose in (account.id, "-"):
        assert door.listing(**{owner: whose}).items == [made]


@needs("!shown")
def test_nobody_lists_what_others_own_without_the_permission(door: Door, member: tuple[Account, Session]) -> None:
    door.create()
    owner = door.kind.resource.owner
    for whose in (door.tenant.owner.id, "-"):
        with refusal("PERMISSION_MISSING") as refused:
            door.for_(member[1]).listing(**{owner: whose})
        assert refused.problem.metadata["permission"] == door.kind.resource.seen_by


def test_nobody_chooses_an_owner(door: Door, member: tuple[Account, Session]) -> None:
    owner = camel(door.kind.resource.owner)
    with refusal("RULE_VIOLATED") as refused:
        door.create(**{owner: member[0].id})
    assert set(refused.problem.violations) == {door.named(f"{door.kind.singular}.{door.kind.resource.owner}")}
    assert refused.problem.rules == ("read_only",)


@needs("parent", "!shown")
def test_what_a_manager_adds_belongs_to_the_owner_of_its_parent(door: Door, member: tuple[Account, Session]) -> None:
    account, session = member
    theirs = door.for_(session)
    assert door.below(theirs.parent).create()[camel(door.kind.resource.owner)] == account.id
    assert len(theirs.listing().items) == 1


@needs("text", "!parent", "!shown")
def test_an_api_key_owns_nothing_and_manages_what_others_own(door: Door) -> None:
    kind, tenant = door.kind, door.tenant
    made = door.create()
    held = {method.permission for method in kind.standard.values()}

    def key(*more: str) -> Door:
        body = {"name": "key", "permissions": sorted({*held, *more})}
        answer = tenant.rest.post(f"{tenant.path}/api-keys", body)
        assert answer.status_code == 201, answer.text
        return door.for_(Session(answer.json()["key"], "", tenant.id, ()))

    plain, manager = key(), key(kind.resource.seen_by)
    for call in (lambda: plain.get(made["id"]), plain.listing, plain.create, manager.create, manager.listing):
        with refusal("USER_REQUIRED"):
            call()
    changed = manager.update(made["id"], {kind.text: "Managed"})
    assert changed[camel(kind.resource.owner)] == tenant.owner.id
    assert manager.listing(**{kind.resource.owner: "-"}).ids == [made["id"]]


def test_a_stranger_to_the_domain_is_refused_before_anything_is_told(door: Door) -> None:
    made = door.create()
    with refusal("PERMISSION_MISSING"):
        door.for_(new_member(door.tenant)[1], door.parent).get(made["id"])
