"""Access: what roles permit, and how long what is known of it counts."""

from collections.abc import Callable
from pathlib import Path
from time import time

import pytest

from server.kernel.caching.generations import Generations, slot_of
from server.kernel.call import Access, Principal
from server.kernel.guard import access as access_module
from server.kernel.guard.access import AccessMemory, Permissions, access_tag, session_tag

CATALOGUE = ("sites.pages.read", "sites.pages.update", "tenancy.roles.read", "sites.pages.read")
TENANT, OTHER = "tenant-1", "tenant-2"
USER = Principal("user-1", "session-1", TENANT, (), is_platform=False, expires_at=0)
KEY = Principal("", "", TENANT, (), is_platform=False, expires_at=0, api_key_id="key-1", key_hash=b"1")
ROTATED = Principal("", "", TENANT, (), is_platform=False, expires_at=0, api_key_id="key-1", key_hash=b"2")


# Roles ---------------------------------------------------------------------------------------------------------------


def test_patterns_give_and_take_in_their_order() -> None:
    permissions = Permissions(
        {
            "all": ("*",),
            "reader": ("*.read",),
            "most": ("*", "-sites.*"),
            "again": ("-sites.*", "sites.pages.read"),
            "none": (),
        },
        CATALOGUE,
    )
    assert permissions.catalogue == ("sites.pages.read", "sites.pages.update", "tenancy.roles.read")
    assert permissions.built_in == {
        "all": permissions.every,
        "reader": {"sites.pages.read", "tenancy.roles.read"},
        "most": {"tenancy.roles.read"},
        "again": {"sites.pages.read"},
        "none": frozenset(),
    }


def test_roles_add_up_and_what_nobody_knows_counts_for_nothing() -> None:
    permissions = Permissions({"reader": ("*.read",)}, CATALOGUE)
    assert permissions.of((), ()) == frozenset()
    assert permissions.of(("nobody",), ("sites.pages.gone", "*")) == frozenset()
    assert permissions.of(("reader", "nobody"), ("sites.pages.update",)) == permissions.every


# Memory --------------------------------------------------------------------------------------------------------------


class Stored:
    """Access as it is stored, which counts how often it is asked."""

    def __init__(self) -> None:
        self.access: Access | None = Access(TENANT, frozenset(), (), 1)
        self.asked: list[tuple[str, str]] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def load(self, principal: Principal, tenant_id: str) -> Access | None:
        self.asked.append((principal.id, tenant_id))
        self.meanwhile()
        return self.access

    def tenant_at(self, principal: Principal, subdomain: str) -> str | None:
        raise NotImplementedError


@pytest.fixture
def generations(tmp_path: Path) -> Generations:
    opened = Generations(tmp_path / "generations")
    opened.open()
    return opened


@pytest.fixture
def stored() -> Stored:
    return Stored()


@pytest.fixture
def memory(stored: Stored, generations: Generations) -> AccessMemory:
    return AccessMemory(stored, generations)


def test_access_is_loaded_once(memory: AccessMemory, stored: Stored) -> None:
    for _ in range(3):
        assert memory.get(USER, TENANT) == stored.access
    assert stored.asked == [("user-1", TENANT)]


def test_every_caller_and_tenant_has_access_of_its_own(memory: AccessMemory, stored: Stored) -> None:
    asked = [(USER, TENANT), (USER, OTHER), (KEY, TENANT), (ROTATED, TENANT)]
    for principal, tenant_id in asked * 2:
        memory.get(principal, tenant_id)
    assert stored.asked == [(principal.id, tenant_id) for principal, tenant_id in asked]


@pytest.mark.parametrize(
    ("tag", "again"),
    [
        (access_tag(TENANT), True),
        (session_tag("session-1"), True),
        ("*", True),
        (access_tag(OTHER), False),
        (session_tag("session-2"), False),
    ],
)
def test_what_may_have_changed_is_loaded_again(
    memory: AccessMemory,
    stored: Stored,
    generations: Generations,
    tag: str,
    again: bool,  # noqa: FBT001
) -> None:
    memory.get(USER, TENANT)
    generations.invalidate([tag])
    memory.get(USER, TENANT)
    assert len(stored.asked) == 1 + again


def test_what_changes_while_it_is_loaded_is_loaded_again(
    memory: AccessMemory, stored: Stored, generations: Generations
) -> None:
    stored.meanwhile = lambda: generations.invalidate([access_tag(TENANT)])
    memory.get(USER, TENANT)
    stored.meanwhile = lambda: None
    memory.get(USER, TENANT)
    memory.get(USER, TENANT)
    assert len(stored.asked) == 2


def test_nothing_is_kept_while_a_change_commits(memory: AccessMemory, stored: Stored, generations: Generations) -> None:
    slots = [slot_of(access_tag(TENANT))]
    generations.changing(slots)
    memory.get(USER, TENANT)
    memory.get(USER, TENANT)
    assert len(stored.asked) == 2
    generations.changed(slots)
    memory.get(USER, TENANT)
    memory.get(USER, TENANT)
    assert len(stored.asked) == 3


def test_strangers_are_looked_at_every_time(memory: AccessMemory, stored: Stored) -> None:
    """Who becomes a member of a tenant is let in at once, though nothing that was known has changed."""
    stored.access = None
    assert memory.get(USER, TENANT) is None
    stored.access = Access(TENANT, frozenset(), (), 1)
    assert memory.get(USER, TENANT) == stored.access


def test_what_has_an_end_is_loaded_again_after_it(memory: AccessMemory, stored: Stored) -> None:
    for left, asked in ((60.0, 1), (-1.0, 2)):
        stored.access, stored.asked[:] = Access(TENANT, frozenset(), (), 1, time() + left), []
        memory.forget(KEY, TENANT)
        memory.get(KEY, TENANT)
        memory.get(KEY, TENANT)
        assert len(stored.asked) == asked


def test_what_is_forgotten_is_loaded_again(memory: AccessMemory, stored: Stored) -> None:
    memory.get(USER, TENANT)
    memory.forget(USER, OTHER)
    memory.get(USER, TENANT)
    assert len(stored.asked) == 1
    memory.forget(USER, TENANT)
    memory.get(USER, TENANT)
    assert len(stored.asked) == 2


def test_what_is_remembered_is_bounded(memory: AccessMemory, stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_module, "REMEMBERED", 2)
    for tenant_id in (TENANT, OTHER, TENANT, OTHER):
        memory.get(USER, tenant_id)
    assert len(stored.asked) == 2
    # One more than there is room for: from then on, the others are loaded again.
    for tenant_id in ("tenant-3", "tenant-3", TENANT, OTHER):
        assert memory.get(USER, tenant_id) == stored.access
    assert [tenant_id for _, tenant_id in stored.asked] == [TENANT, OTHER, "tenant-3", TENANT, OTHER]
